// What all native kernels start with. The files of a kernel are joined, this one first, and compiled as one.

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

}  // namespace
