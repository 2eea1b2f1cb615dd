// A register of floats and what is done with it, on any CPU; bfloat16, the upper half of a float.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

#if defined(__aarch64__)
#include <arm_neon.h>
#else
#include <immintrin.h>
#endif

#if defined(__AMX_BF16__) && defined(__AMX_INT8__) && defined(__AVX512BF16__)
#define HAS_AMX 1
#else
#define HAS_AMX 0
#endif
#if defined(__AVX512BF16__) || defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#define HAS_BFLOAT16 1  // products of them
#else
#define HAS_BFLOAT16 0
#endif

namespace {


// a register of floats, at any address; compilers make of it what the CPU has, on aarch64 two registers
#if defined(__AVX512F__)
constexpr int kLanes = 16;
#define LOW_HALVES 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH_HALVES 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define LANES 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
#define FIRST_AND_THIRD 0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15
#else
constexpr int kLanes = 8;
#define LOW_HALVES 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_HALVES 4, 12, 5, 13, 6, 14, 7, 15
#define LANES 0, 1, 2, 3, 4, 5, 6, 7
#define FIRST_AND_THIRD 0, 2, 1, 3, 4, 6, 5, 7
#endif
typedef float Floats __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef uint32_t Bits __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef uint16_t Halves __attribute__((vector_size(2 * kLanes), aligned(2), may_alias));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

constexpr Floats lane_numbers = {LANES};

struct bfloat16 {
  uint16_t bits;
};

inline float to_float(float value) { return value; }
inline float to_float(bfloat16 value) {
  uint32_t bits = uint32_t(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

inline void from_float(float value, float* to) { *to = value; }
inline void from_float(float value, bfloat16* to) {  // to the nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  to->bits = value != value ? 0x7fc0 : uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

template <typename T>
inline T rounded(float value) {
  T to;
  from_float(value, &to);
  return to;
}

inline int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

#if defined(__aarch64__)
// what an instruction of NEON makes of each half
template <typename Whole, typename Half, typename Function>
inline Whole of_halves(const Function& function) {
  const Half halves[2] = {function(0), function(1)};
  Whole whole;
  std::memcpy(&whole, halves, sizeof whole);
  return whole;
}
template <typename Half, typename Whole>
inline Half half_of(const Whole& whole, int number) {
  Half half;
  std::memcpy(&half, (const char*)&whole + number * sizeof half, sizeof half);
  return half;
}
#endif

// to the nearest, ties to even
inline Ints to_whole(Floats x) {
#if defined(__aarch64__)
  return of_halves<Ints, int32x4_t>(
      [&](int number) { return vcvtnq_s32_f32(half_of<float32x4_t>(x, number)); });
#elif defined(__AVX512F__)
  return (Ints)_mm512_cvtps_epi32((__m512)x);
#else
  return (Ints)_mm256_cvtps_epi32((__m256)x);
#endif
}

// e^x for x ≤ 0 with a relative error below 1e-6: 2ⁿ · 2ᶠ, n whole, |f| ≤ ½, 2ᶠ by its series
inline Floats exp_of(Floats x) {
  const Floats lowest = Floats{} - 87.0f;
  x = x < lowest ? lowest : x;
  const Floats scaled = x * 1.44269504f;
  const float to_whole = 12582912.0f;  // 1.5 · 2²³: adding it leaves whole numbers in the low bits
  const Floats shifted = scaled + to_whole;
  const Floats f = scaled - (shifted - to_whole);
  Floats series = f * 1.54035304e-4f + 1.33335581e-3f;
  series = series * f + 9.61812911e-3f;
  series = series * f + 5.55041087e-2f;
  series = series * f + 2.40226507e-1f;
  series = series * f + 6.93147181e-1f;
  series = series * f + 1.0f;
  return (Floats)((Ints)series + ((Ints)shifted << 23));
}

// Φ(x) − ½ = x · P(x²) for |x| ≤ 4.5, and as at 4.5 past it: x · Φ(x) is right to 5e-5, a hundredth of what
// bfloat16 resolves at 1
inline Floats gelu_of(Floats x) {
  const Floats bound = Floats{} + 4.5f;
  Floats near = x < bound ? x : bound;
  near = near > -bound ? near : -bound;
  const Floats square = near * near;
  // in pairs, so that few steps wait for the one before
  const Floats fourth = square * square, eighth = fourth * fourth;
  const Floats first = square * -6.59846216e-02f + 3.98712575e-01f;
  const Floats second = square * -1.03758683e-03f + 9.58518591e-03f;
  const Floats third = square * -4.45167279e-06f + 8.14245068e-05f;
  const Floats last = square * -3.31458505e-09f + 1.59096885e-07f;
  const Floats lower = second * fourth + first, upper = last * fourth + third;
  const Floats series = (eighth * 3.03633507e-11f + upper) * eighth + lower;
  return x * (near * series + 0.5f);
}

template <int by, int... lane>
inline Floats rotated(Floats x, std::integer_sequence<int, lane...>) {
  return __builtin_shufflevector(x, x, ((lane + by) % kLanes)...);
}
template <int by>
inline Floats rotated(Floats x) {
  return rotated<by>(x, std::make_integer_sequence<int, kLanes>{});
}

inline Floats larger(Floats x, Floats y) { return x > y ? x : y; }

inline float sum_of(Floats x) {
#if defined(__AVX512F__)
  x += rotated<8>(x);
#endif
  x += rotated<4>(x);
  x += rotated<2>(x);
  return (x + rotated<1>(x))[0];
}

// a sum of numbers that come kLanes at a time, in the order that registers of 16 have, whatever these have
struct Sum {
  static constexpr int kParts = 16 / kLanes;
  Floats parts[kParts] = {};

  void add(Floats x, int64_t first) { parts[first / kLanes % kParts] += x; }
  float total() const { return sum_of(kParts == 2 ? parts[0] + parts[kParts - 1] : parts[0]); }
};

inline float largest_of(Floats x) {
#if defined(__AVX512F__)
  x = larger(x, rotated<8>(x));
#endif
  x = larger(x, rotated<4>(x));
  x = larger(x, rotated<2>(x));
  return larger(x, rotated<1>(x))[0];
}

// rows [kLanes] of kLanes numbers become columns
inline void transpose(Floats* rows) {
  Floats shuffled[kLanes];
#pragma GCC unroll 4
  for (int step = 1; step < kLanes; step *= 2) {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes / 2; ++i) {
      shuffled[2 * i] = __builtin_shufflevector(rows[i], rows[i + kLanes / 2], LOW_HALVES);
      shuffled[2 * i + 1] = __builtin_shufflevector(rows[i], rows[i + kLanes / 2], HIGH_HALVES);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) rows[i] = shuffled[i];
  }
}

// kLanes numbers at any address
inline Floats load(const float* from) { return *(const Floats*)from; }
inline void store(Floats x, float* to) { *(Floats*)to = x; }

inline Floats load(const bfloat16* from) {
#if defined(__aarch64__)
  return (Floats)(__builtin_convertvector(*(const Halves*)from, Bits) << 16);
#elif defined(__AVX512F__)
  return (Floats)((Bits)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from)) << 16);
#else
  return (Floats)((Bits)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)from)) << 16);
#endif
}
inline void store(Floats x, bfloat16* to) {  // to the nearest, ties to even
#if defined(__AVX512BF16__)
  _mm256_storeu_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh((__m512)x));
#else
  const Bits bits = (Bits)x, rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  *(Halves*)to = __builtin_convertvector(x == x ? rounded : Bits{} + 0x7fc0, Halves);
#endif
}

struct Scratch {  // memory of one thread
  explicit Scratch(int64_t size) : bytes(std::aligned_alloc(64, round_up(size, 64))) {}
  ~Scratch() { std::free(bytes); }
  Scratch(const Scratch&) = delete;
  void* const bytes;
};

}  // namespace
