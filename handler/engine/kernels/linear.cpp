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
  const float* token_scales;           // of int8 tokens, [rows]
  const Target* targets;
  int64_t count, rows, then;
};

template <typename T>
struct Columns {  // of one of the products
  const T* tiles;  // [columns / 16, depth / (4 bytes), 16, 4 bytes]
  const float *bias, *scales;
  const int32_t* starts;
  const float* token_scales;
  bfloat16* results;
  int64_t depth, columns, then;

  Columns(const Linear<T>& of, const Target& target)
      : tiles((const T*)target.product->tiles),
        bias(target.product->bias),
        scales(target.product->scales),
        starts(kOffset ? target.product->starts : nullptr),
        token_scales(of.token_scales),
        results((bfloat16*)target.results),
        depth(target.product->depth),
        columns(target.product->columns),
        then(of.then) {}
};

inline Floats result(const Columns<bfloat16>&, const float* sums, int64_t, int64_t) {
  return load(sums);
}
inline Floats result(const Columns<int8_t>& of, const int32_t* sums, int64_t row, int64_t column) {
  const Floats whole = __builtin_convertvector(*(const Ints*)sums, Floats);
  return whole * (load(of.scales + column) * of.token_scales[row]);
}

// results of some rows of x [rows, depth], 32 columns
template <typename T>
inline void compute_block(
    const Columns<T>& of, const Multiplier<T>& multiplier, const typename Multiplier<T>::X* x, int64_t row,
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
  const int64_t depth = of.targets->product->depth;
  const auto tasks_of = [](const Target& target) {
    return round_up(target.product->columns, kColumnsOfTask) / kColumnsOfTask;
  };
  int64_t column_tasks = 0;
  for (int64_t i = 0; i < of.count; ++i) column_tasks += tasks_of(of.targets[i]);
  Tasks tasks(row_tasks * column_tasks);
  in_threads([&] {
    alignas(64) typename Many::Sums sums[Many::kRows * kColumns];
    // the last rows, with zeros below, where a block is a whole one
    const int64_t bytes = Many::kRows * depth * sizeof *of.x;
    const Scratch last(Many::kAnyRows ? 0 : bytes);
    const Many multiplier;
    tasks.run<1>([&](int64_t task) {
      const int64_t row_task = task / column_tasks;
      int64_t column_task = task % column_tasks;
      const Target* target = of.targets;
      while (column_task >= tasks_of(*target)) column_task -= tasks_of(*target++);
      const Columns<T> columns(of, *target);
      const int64_t end = std::min(of.rows, (row_task + 1) * kRowsOfTask);
      const int64_t stop = std::min(columns.columns, (column_task + 1) * kColumnsOfTask);
      for (int64_t column = column_task * kColumnsOfTask; column < stop; column += kColumns)
        for (int64_t row = row_task * kRowsOfTask; row < end; row += Many::kRows) {
          const int64_t rows = std::min<int64_t>(Many::kRows, end - row);
          const auto* x = of.x + row * depth;
          if (rows < Many::kRows && !Many::kAnyRows) {
            std::memset(last.bytes, 0, bytes);
            std::memcpy(last.bytes, x, rows * depth * sizeof *x);
            x = (decltype(x))last.bytes;
          }
          compute_block(columns, multiplier, x, row, rows, column, sums);
        }
    });
  });
}

}  // namespace

extern "C" void linear_bfloat16(
    const void* x, const Target* targets, int64_t count, int64_t rows, int64_t then) {
#if HAS_BFLOAT16
  compute(Linear<bfloat16>{(const bfloat16*)x, nullptr, targets, count, rows, then});
#endif
}

extern "C" void quantize_tokens(
    const void* from, void* to, float* scales, int64_t rows, int64_t depth) {
  in_shares(rows, [=](int64_t row) {
    scales[row] = quantize((const bfloat16*)from + row * depth, (Quantized*)to + row * depth, depth);
  });
}

extern "C" void linear_int8(
    const void* x, const float* token_scales, const Target* targets, int64_t count, int64_t rows,
    int64_t then) {
  compute(Linear<int8_t>{(const Quantized*)x, token_scales, targets, count, rows, then});
}

extern "C" int can_be_used() {
#if HAS_AMX
  return may_use_tiles;
#else
  return true;
#endif
}

extern "C" int multiplies_bfloat16() { return HAS_BFLOAT16; }
