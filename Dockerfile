# A model over HTTP: docker build -t pushforward . && docker run -p 8000:8000 -v "$PWD/models:/models:ro" pushforward
FROM python:3.11-slim
WORKDIR /app
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY src src
# The build of torch for CPUs; for GPUs leave the first line out and start from an image with CUDA.
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch==2.13.0 \
    && pip install --no-cache-dir -c constraints.txt '.[serve]' \
    && useradd --create-home server
USER server
EXPOSE 8000
HEALTHCHECK CMD python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=5)"
CMD ["pushforward", "serve", "/models/model.safetensors", "--host", "0.0.0.0"]
