"""The widget of Flow Lab: the messages of a notebook in place of a socket."""

import threading

import pytest

pytest.importorskip("anywidget", reason="the extra notebook is not installed")

import anywidget
import ipywidgets.widgets.widget as widgets
from lab_calls import PATIENCE

import pushforward as pf
from pushforward.lab import notebook


@pytest.fixture
def built(tmp_path, monkeypatch):
    (tmp_path / "lab.js").write_text("export default { render() {} };")
    (tmp_path / "lab.css").write_text("div {}")
    monkeypatch.setattr(notebook, "STATIC", tmp_path)
    return tmp_path


def test_a_widget_is_a_session_until_it_is_closed(built, monkeypatch):
    lab = pf.lab.widget(built)
    assert isinstance(lab, anywidget.AnyWidget)
    assert (lab._esm, lab._css) == ("export default { render() {} };", "div {}")
    messages, answered = [], threading.Event()
    lab.session._send_message = lambda message: (messages.append(message), answered.set())
    lab._handle_custom_msg({"id": 1, "call": "data.sample", "with": {"name": "moons", "n": 2}}, [])
    assert answered.wait(PATIENCE)
    assert len(messages[0]["result"]["points"]) == 2
    lab.close()
    lab.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("flow-lab")]


def test_answers_go_through_the_messages_of_the_widget(built, monkeypatch):
    messages = []
    monkeypatch.setattr(notebook.LabWidget, "send", lambda self, content: messages.append(content))
    lab = pf.lab.widget()
    lab._handle_custom_msg({"id": 1, "call": "info"}, [])
    assert messages[0]["result"]["models"] == []
    lab.close()


def test_a_widget_needs_the_page_and_the_package(built, monkeypatch):
    (built / "lab.css").unlink()
    with pytest.raises(ValueError, match=r"pf\.lab\.widget: the page is not built"):
        pf.lab.widget()
    monkeypatch.setattr("pushforward.core.extras.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs the package anywidget\. Install with"):
        pf.lab.widget()


def test_a_widget_needs_a_folder_that_is_there(built):
    """Without one, no widget is registered."""
    before = set(widgets._instances)
    with pytest.raises(ValueError, match="there is no such folder"):
        pf.lab.widget(built / "none")
    assert set(widgets._instances) == before
