// Linear layers, x · Wᵀ + b in bfloat16 and in int8.
//
// What follows a product happens before its results leave the core's cache, and weights were laid out
// beforehand. For the few hundred tokens of a micro-batch this is as fast as oneDNN or faster, and nothing is
// prepared anew for each number of tokens. int8: each token is quantized by its own largest value, so that no
// text depends on its neighbours.

#include "floats.h"
#include "kernels.h"
#include "products.h"
#include "threads.h"

namespace {

constexpr int64_t kColumnsOfTask = 192;

template <typename T>
struct Linear {
  const typename Multiplier<T>::X* x;  // [rows, depth]
  const T* tiles;                      // [columns / 16, depth / (4 bytes), 16, 4 bytes]
  const float* bias;                   // [columns]
  const float* scales;                 // of int8 weights, [columns]
  const int32_t* starts;               // of sums of int8, [columns]
  const float* token_scales;           // of int8 tokens, [rows]
  bfloat16* results;                   // [rows, columns]
  int64_t rows, depth, columns;
  int64_t then;  // of what follows
};

inline Floats result(const Linear<bfloat16>&, const float* sums, int64_t, int64_t) {
  return load(sums);
}
inline Floats result(const Linear<int8_t>& of, const int32_t* sums, int64_t row, int64_t column) {
  const Floats whole = __builtin_convertvector(*(const Ints*)sums, Floats);
  return whole * (load(of.scales + column) * of.token_scales[row]);
}

// results of some rows of x [rows, depth], 32 columns
template <typename T>
inline void compute_block(
    const Linear<T>& of, const Multiplier<T>& multiplier, const typename Multiplier<T>::X* x, int64_t row,
    int64_t rows, int64_t column, typename Multiplier<T>::Sums* sums) {
  const T* const left = of.tiles + column * of.depth;
  multiplier.sum(
      x, rows, of.depth, left, left + 16 * of.depth,
      (const typename Multiplier<T>::Sums*)(of.starts ? of.starts + column : nullptr), sums,
      kColumns);
  const auto found = [&](int64_t i, int64_t j) {
    return result(of, sums + i * kColumns + j, row + i, column + j) + load(of.bias + column + j);
  };
  if (of.then == kGated) {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < kColumns / 2; j += kLanes)
        store(
            gelu_of(found(i, j)) * found(i, kColumns / 2 + j),
            of.results + ((row + i) * of.columns + column) / 2 + j);
    return;
  }
  for (int64_t i = 0; i < rows; ++i) {
    bfloat16* const to = of.results + (row + i) * of.columns + column;
#pragma GCC unroll 4
    for (int64_t j = 0; j < kColumns; j += kLanes) store(found(i, j), to + j);
  }
  if (of.then != kGelu) return;
  for (int64_t i = 0; i < rows; ++i) {
    bfloat16* const to = of.results + (row + i) * of.columns + column;
#pragma GCC unroll 4
    for (int64_t j = 0; j < kColumns; j += kLanes) store(gelu_of(load(to + j)), to + j);
  }
}

template <typename T>
void compute(const Linear<T>& of) {
  using Many = Multiplier<T>;
  // rows whose share of x stays in the core's second cache, in whole blocks
  constexpr int64_t kRowsOfTask = 128 / Many::kRows * Many::kRows;
  const int64_t row_tasks = round_up(of.rows, kRowsOfTask) / kRowsOfTask;
  const int64_t column_tasks = round_up(of.columns, kColumnsOfTask) / kColumnsOfTask;
  int64_t next = 0;
  in_threads([&] {
    alignas(64) typename Many::Sums sums[Many::kRows * kColumns];
    // the last rows, with zeros below, where a block is a whole one
    const int64_t bytes = Many::kRows * of.depth * sizeof *of.x;
    const Scratch last(Many::kAnyRows ? 0 : bytes);
    const Many multiplier;
    for_rest<1>(next, row_tasks * column_tasks, [&](int64_t task) {
      const int64_t row_task = task / column_tasks, column_task = task % column_tasks;
      const int64_t end = std::min(of.rows, (row_task + 1) * kRowsOfTask);
      const int64_t stop = std::min(of.columns, (column_task + 1) * kColumnsOfTask);
      for (int64_t column = column_task * kColumnsOfTask; column < stop; column += kColumns)
        for (int64_t row = row_task * kRowsOfTask; row < end; row += Many::kRows) {
          const int64_t rows = std::min<int64_t>(Many::kRows, end - row);
          const auto* x = of.x + row * of.depth;
          if (rows < Many::kRows && !Many::kAnyRows) {
            std::memset(last.bytes, 0, bytes);
            std::memcpy(last.bytes, x, rows * of.depth * sizeof *x);
            x = (decltype(x))last.bytes;
          }
          compute_block(of, multiplier, x, row, rows, column, sums);
        }
    });
  });
}

// each row by its own largest value; `depth` is a multiple of 64
void quantize(const bfloat16* from, Quantized* to, float* scales, int64_t rows, int64_t depth) {
  in_shares(rows, [=](int64_t row) {
    const bfloat16* const in = from + row * depth;
    Floats largest = Floats{}, wrong = Floats{};
    for (int64_t i = 0; i < depth; i += kLanes) {
      const Floats x = load(in + i);
      largest = larger(largest, larger(x, -x));
      wrong += x * 0.0f;  // no whole number stands for NaN: the scale does, so that no result looks right
    }
    const float most = std::max(largest_of(largest), 1e-30f);
    scales[row] = most / 127.0f + sum_of(wrong);
    for (int64_t i = 0; i < depth; i += kLanes)
      store(to_whole(load(in + i) * (127.0f / most)), to + row * depth + i);
  });
}

}  // namespace

extern "C" void linear_bfloat16(
    const void* x, const void* tiles, const float* bias, void* results, int64_t rows, int64_t depth,
    int64_t columns, int64_t then) {
#if HAS_BFLOAT16
  compute(Linear<bfloat16>{
      (const bfloat16*)x, (const bfloat16*)tiles, bias, nullptr, nullptr, nullptr, (bfloat16*)results,
      rows, depth, columns, then});
#endif
}

extern "C" void quantize_tokens(
    const void* from, void* to, float* scales, int64_t rows, int64_t depth) {
  quantize((const bfloat16*)from, (Quantized*)to, scales, rows, depth);
}

extern "C" void linear_int8(
    const void* x, const float* token_scales, const void* tiles, const float* scales,
    const int32_t* starts, const float* bias, void* results, int64_t rows, int64_t depth, int64_t columns,
    int64_t then) {
  compute(Linear<int8_t>{
      (const Quantized*)x, (const int8_t*)tiles, bias, scales, kOffset ? starts : nullptr, token_scales,
      (bfloat16*)results, rows, depth, columns, then});
}

extern "C" int can_be_used() {
#if HAS_AMX
  return may_use_tiles;
#else
  return true;
#endif
}

extern "C" int multiplies_bfloat16() { return HAS_BFLOAT16; }
