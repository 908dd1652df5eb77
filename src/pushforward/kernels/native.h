// Included first in every native kernel: its files are concatenated and compiled as one source.

#include <ATen/cpu/vec/functional.h>  // vec_reduce_all: `vec.h` brings it in for some instruction sets only
#include <ATen/cpu/vec/vec.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

namespace {

template <typename T>
using Vec = at::vec::Vectorized<T>;

template <typename T>
constexpr int64_t LANES = Vec<T>::size();

template <typename T>
Vec<T> choose(Vec<T> no, Vec<T> yes, Vec<T> mask) {
    return Vec<T>::blendv(no, yes, mask);
}

template <typename T>
Vec<T> clamped(Vec<T> v, double low, double high) {
    return at::vec::clamp(v, Vec<T>(T(low)), Vec<T>(T(high)));
}

template <typename T>
T total(Vec<T> v) {
    return at::vec::vec_reduce_all<T>([](Vec<T> a, Vec<T> b) { return a + b; }, v);
}

// Number of threads for this many jobs: at most one per job, and at least one.
inline int64_t threads_for(int64_t threads, int64_t jobs) { return std::max<int64_t>(1, std::min(threads, jobs)); }

}  // namespace
