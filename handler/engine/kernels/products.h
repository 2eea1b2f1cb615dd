// Sums of products over the depth, a block of rows by 32 columns at a time, as each kind of CPU has them.
//
// Multiplier<T>   of one thread; weights are T, in the layout of `as_tiles`: for 16 columns, step by step in
//                 depth, 4 bytes of each column
//   X             what x is stored as
//   Sums          float, or int32_t of whole numbers
//   kRows         rows of a block; `sum` reads and writes fewer where it says so
//   kAnyRows      whether it does
//   sum(x, rows, depth, left, right, starts, sums, stride)
//                 sums [kRows, 32], `stride` from a row to the next, = starts [32] + x [rows, depth] · tiles of 16
//                 and of 16 more columns; without starts from zero
//
// Sums of int8 are exact, so they are the same on every kind of CPU. Instructions that multiply unsigned by
// signed numbers are given x + 128, and `starts` takes 128 times each column's weights away again.

#pragma once

#include "floats.h"

#if HAS_AMX
#include "tiles.h"
#endif

namespace {

constexpr int64_t kColumns = 32;  // of a block

// ---- what a token in int8 is stored as

#if HAS_AMX || defined(__ARM_FEATURE_DOTPROD)
using Quantized = int8_t;
constexpr int kOffset = 0;
#elif defined(__AVX512VNNI__) || defined(__AVXVNNI__)
using Quantized = uint8_t;
constexpr int kOffset = 128;
#else
using Quantized = int16_t;  // of each four numbers the first and third, then the second and fourth
constexpr int kOffset = 0;
#endif

typedef int16_t Shorts __attribute__((vector_size(4 * kLanes), aligned(1), may_alias));
typedef Quantized QuantizedLanes
    __attribute__((vector_size(sizeof(Quantized) * kLanes), aligned(sizeof(Quantized)), may_alias));

// kLanes whole numbers from −127 to 127
inline void store(Ints whole, Quantized* to) {
  if constexpr (sizeof(Quantized) == 2)
    whole = __builtin_shufflevector(whole, whole, FIRST_AND_THIRD);
  *(QuantizedLanes*)to = __builtin_convertvector(whole + kOffset, QuantizedLanes);
}

// a row by its own largest value, which 127 stands for; returns what 1 does; `depth` is a multiple of 64
inline float quantize(const bfloat16* from, Quantized* to, int64_t depth) {
  Floats largest = Floats{}, wrong = Floats{};
  for (int64_t i = 0; i < depth; i += kLanes) {
    const Floats x = load(from + i);
    largest = larger(largest, larger(x, -x));
    wrong += x * 0.0f;  // no whole number stands for NaN: the scale does, so that no result looks right
  }
  const float most = std::max(largest_of(largest), 1e-30f);
  for (int64_t i = 0; i < depth; i += kLanes) store(to_whole(load(from + i) * (127.0f / most)), to + i);
  return most / 127.0f + sum_of(wrong);
}

template <typename T>
struct Types {
  using X = T;
  using Sums = float;
  using Lanes = Floats;  // of sums
};
template <>
struct Types<int8_t> {
  using X = Quantized;
  using Sums = int32_t;
  using Lanes = Ints;
};

#if HAS_AMX

// ---- AMX: 32 × 32 results stay in the tile registers

inline void multiply(bfloat16) {
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  _tile_dpbf16ps(2, 5, 6);
  _tile_dpbf16ps(3, 5, 7);
}
inline void multiply(int8_t) {
  _tile_dpbssd(0, 4, 6);
  _tile_dpbssd(1, 4, 7);
  _tile_dpbssd(2, 5, 6);
  _tile_dpbssd(3, 5, 7);
}

template <typename T>
struct Multiplier {
  using X = T;
  using Sums = typename Types<T>::Sums;
  static constexpr int64_t kRows = 2 * kTile;
  static constexpr bool kAnyRows = false;
  const Tiles registers;

  static void sum(
      const X* x, int64_t, int64_t depth, const T* left, const T* right, const Sums*, Sums* sums,
      int64_t stride) {
    constexpr int64_t step = 64 / sizeof(T);
    const int64_t row_bytes = depth * sizeof(T);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t k = 0; k < depth; k += step) {
      _tile_loadd(4, x + k, row_bytes);
      _tile_loadd(5, x + kTile * depth + k, row_bytes);
      _tile_loadd(6, left + kTile * k, 64);
      _tile_loadd(7, right + kTile * k, 64);
      multiply(T{});
    }
    _tile_stored(0, sums, 4 * stride);
    _tile_stored(1, sums + kTile, 4 * stride);
    _tile_stored(2, sums + kTile * stride, 4 * stride);
    _tile_stored(3, sums + kTile * stride + kTile, 4 * stride);
  }
};

#else

// ---- the others: four bytes of a row at a time are multiplied by those of all columns

// what is broadcast of a row, and the weights of kLanes columns that it is multiplied by
struct Four {
  Ints values;
};
inline Four broadcast(const void* from) {
  int32_t four;
  std::memcpy(&four, from, sizeof four);
  return {Ints{} + four};
}
template <typename T>
inline Four weights_of(const T* from) {
  return {*(const Ints*)from};
}

#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
inline Floats add_products(Floats sums, Four x, Four weights, bfloat16) {
  return of_halves<Floats, float32x4_t>([&](int number) {
    return vbfdotq_f32(
        half_of<float32x4_t>(sums, number), half_of<bfloat16x8_t>(x, number),
        half_of<bfloat16x8_t>(weights, number));
  });
}
#elif defined(__AVX512BF16__)
inline Floats add_products(Floats sums, Four x, Four weights, bfloat16) {
  return (Floats)_mm512_dpbf16_ps((__m512)sums, (__m512bh)x.values, (__m512bh)weights.values);
}
#endif
#if defined(__ARM_FEATURE_DOTPROD)
inline Ints add_products(Ints sums, Four x, Four weights, int8_t) {
  return of_halves<Ints, int32x4_t>([&](int number) {
    return vdotq_s32(
        half_of<int32x4_t>(sums, number), half_of<int8x16_t>(x, number),
        half_of<int8x16_t>(weights, number));
  });
}
#elif defined(__AVX512VNNI__)
inline Ints add_products(Ints sums, Four x, Four weights, int8_t) {
  return (Ints)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)x.values, (__m512i)weights.values);
}
#elif defined(__AVXVNNI__)
inline Ints add_products(Ints sums, Four x, Four weights, int8_t) {
  return (Ints)_mm256_dpbusd_avx_epi32((__m256i)sums, (__m256i)x.values, (__m256i)weights.values);
}
#else
// as pairs of 16 bits, whose products no instruction cuts off
struct Pairs {
  Ints first_and_third, second_and_fourth;
};
inline Pairs broadcast(const Quantized* from) {
  return {broadcast((const void*)from).values, broadcast((const void*)(from + 2)).values};
}
inline Pairs weights_of(const int8_t* from) {
  const Shorts bytes = *(const Shorts*)from;
  return {(Ints)((bytes << 8) >> 8), (Ints)(bytes >> 8)};
}
inline Ints sum_of_pairs(Ints x, Ints y) {
#if defined(__AVX512F__)
  return (Ints)_mm512_madd_epi16((__m512i)x, (__m512i)y);
#else
  return (Ints)_mm256_madd_epi16((__m256i)x, (__m256i)y);
#endif
}
inline Ints add_products(Ints sums, Pairs x, Pairs weights, int8_t) {
  sums += sum_of_pairs(x.first_and_third, weights.first_and_third);
  return sums + sum_of_pairs(x.second_and_fourth, weights.second_and_fourth);
}
#endif

template <typename T>
struct Multiplier {
  using X = typename Types<T>::X;
  using Sums = typename Types<T>::Sums;
  using Lanes = typename Types<T>::Lanes;
  // whose sums the registers hold, two for each row; without instructions for int8 it takes more of them
  static constexpr bool kPairs = sizeof(X) > sizeof(T);
  static constexpr int kRows = kLanes == 16 ? 12 : kPairs ? 4 : 5;
  static constexpr bool kAnyRows = true;

  template <int most = kRows>
  static void sum(
      const X* x, int64_t rows, int64_t depth, const T* left, const T* right, const Sums* starts,
      Sums* sums, int64_t stride) {
    if constexpr (most > 1)
      if (rows < most) return sum<most - 1>(x, rows, depth, left, right, starts, sums, stride);
    constexpr int64_t step = 4 / sizeof(T);
    if constexpr (kLanes == 16) {
      sum_two<most>(x, depth, left, right, starts, sums, stride);
    } else {
      sum_two<most>(x, depth, left, left + kLanes * step, starts, sums, stride);
      sum_two<most>(
          x, depth, right, right + kLanes * step, starts ? starts + 16 : nullptr, sums + 16, stride);
    }
  }

 private:
  // of kLanes columns here and kLanes there; inlined, its registers would be shared with what is around it
  template <int rows>
  __attribute__((noinline)) static void sum_two(
      const X* x, int64_t depth, const T* here, const T* there, const Sums* starts, Sums* sums,
      int64_t stride) {
    constexpr int64_t step = 4 / sizeof(T);
    Lanes found[rows][2];
#pragma GCC unroll 16
    for (int row = 0; row < rows; ++row)
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) found[row][i] = starts ? *(const Lanes*)(starts + i * kLanes) : Lanes{};
    for (int64_t k = 0; k < depth; k += step) {
      const auto first = weights_of(here + 16 * k), second = weights_of(there + 16 * k);
#pragma GCC unroll 16
      for (int row = 0; row < rows; ++row) {
        const auto each = broadcast(x + row * depth + k);
        found[row][0] = add_products(found[row][0], each, first, T{});
        found[row][1] = add_products(found[row][1], each, second, T{});
      }
    }
#pragma GCC unroll 16
    for (int row = 0; row < rows; ++row)
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) *(Lanes*)(sums + row * stride + i * kLanes) = found[row][i];
  }
};

#endif

}  // namespace
