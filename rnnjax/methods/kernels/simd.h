// SIMD vectors of kLanes numbers (the vector extensions of GCC and Clang), and the activation
// functions on them. These headers are compiled once for each instruction set, in a namespace named
// after it, and use no inline functions of the standard library: the linker would keep one copy,
// perhaps one that not every CPU can run.
#pragma once

#include <cstdint>
#include <cstring>

namespace rnnjax::RNNJAX_ISA {

constexpr int kVectorBytes = RNNJAX_VECTOR_BYTES;
constexpr int kRegisters = RNNJAX_VECTOR_REGISTERS;

template <typename T>
struct Simd;

template <>
struct Simd<float> {
  typedef float Vec __attribute__((vector_size(kVectorBytes)));
  typedef int32_t Bits __attribute__((vector_size(kVectorBytes)));
  static constexpr int kMantissa = 23, kBias = 127, kDegree = 7;
  static constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  static constexpr float kLn2High = 0.693145751953125f, kLn2Low = 1.42860677e-06f;
  static constexpr float kTanhLimit = 10.0f, kSigmoidLimit = 88.0f;
};

template <>
struct Simd<double> {
  typedef double Vec __attribute__((vector_size(kVectorBytes)));
  typedef int64_t Bits __attribute__((vector_size(kVectorBytes)));
  static constexpr int kMantissa = 52, kBias = 1023, kDegree = 13;
  static constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double kLn2High = 0x1.62e42feep-1, kLn2Low = 1.90821492927058770002e-10;
  static constexpr double kTanhLimit = 22.0, kSigmoidLimit = 709.0;
};

template <typename T>
using Vec = typename Simd<T>::Vec;

template <typename T>
constexpr int64_t kLanes = kVectorBytes / sizeof(T);

template <typename T>
inline Vec<T> splat(T x) {
  return x - Vec<T>{};
}

template <typename T>
inline Vec<T> load(const T* p) {
  Vec<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <typename T>
inline void store(T* p, Vec<T> v) {
  std::memcpy(p, &v, sizeof v);
}

// The first n lanes only; the rest are zero.
template <typename T>
inline Vec<T> load(const T* p, int64_t n) {
  if (n >= kLanes<T>) return load(p);
  Vec<T> v{};
  for (int64_t i = 0; i < n; ++i) v[i] = p[i];
  return v;
}

template <typename T>
inline void store(T* p, Vec<T> v, int64_t n) {
  if (n >= kLanes<T>) return store(p, v);
  for (int64_t i = 0; i < n; ++i) p[i] = v[i];
}

// Past the caches where GCC and Clang know how: p is a multiple of a vector, and `end_streams` must
// follow before another thread reads.
template <typename T>
inline void stream(T* p, Vec<T> v) {
#if defined(__clang__)
  __builtin_nontemporal_store(v, reinterpret_cast<Vec<T>*>(p));
#elif defined(RNNJAX_X86)
  const auto bits = (Simd<float>::Vec)v;
  float* const to = reinterpret_cast<float*>(p);
#if RNNJAX_VECTOR_BYTES == 64
  __builtin_ia32_movntps512(to, bits);
#elif RNNJAX_VECTOR_BYTES == 32
  __builtin_ia32_movntps256(to, bits);
#else
  __builtin_ia32_movntps(to, bits);
#endif
#else
  store(p, v);
#endif
}

inline void end_streams() {
#if defined(RNNJAX_X86)
  __builtin_ia32_sfence();
#endif
}

// x within [-limit, limit]; NaN stays NaN.
template <typename T>
inline Vec<T> clamp(Vec<T> x, T limit) {
  const Vec<T> low = splat<T>(-limit), high = splat<T>(limit);
  x = low > x ? low : x;
  return high < x ? high : x;
}

// e^y as scale = 2^n and reduced = e^r - 1 with y = n ln 2 + r: e^y = scale (1 + reduced). The
// Taylor series converges to the last bit for |r| <= ln 2 / 2.
template <typename T>
inline void exponential(Vec<T> y, Vec<T>& scale, Vec<T>& reduced) {
  using S = Simd<T>;
  using Bits = typename S::Bits;
  const Vec<T> shifted = y * T(1.44269504088896340736) + S::kRound;
  const Vec<T> n = shifted - S::kRound;
  const Vec<T> r = (y - n * S::kLn2High) - n * S::kLn2Low;
  T factor = 1;
  for (int k = 2; k <= S::kDegree; ++k) factor *= k;
  Vec<T> p = splat<T>(1 / factor);
#pragma GCC unroll 16
  for (int k = S::kDegree; k > 1; --k) p = p * r + splat<T>(1 / (factor /= k));
  reduced = p * r;
  Bits bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + S::kBias) << S::kMantissa;  // the low bits of `shifted` hold n
  std::memcpy(&scale, &bits, sizeof scale);
}

// tanh(x) = m / (m + 2) with m = e^2x - 1: no cancellation near zero.
template <typename T>
inline Vec<T> tanh(Vec<T> x) {
  Vec<T> scale, reduced;
  exponential<T>(clamp<T>(x, Simd<T>::kTanhLimit) * T(2), scale, reduced);
  const Vec<T> m = scale * reduced + (scale - T(1));
  return m / (m + T(2));
}

// σ(x) = 1 / (1 + e^-x)
template <typename T>
inline Vec<T> sigmoid(Vec<T> x) {
  Vec<T> scale, reduced;
  exponential<T>(-clamp<T>(x, Simd<T>::kSigmoidLimit), scale, reduced);
  return T(1) / (scale * reduced + (scale + T(1)));
}

}  // namespace rnnjax::RNNJAX_ISA
