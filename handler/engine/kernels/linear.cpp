// Linear layers, x · Wᵀ + b in bfloat16 and in int8, on CPUs with AMX.
//
// A block of 32 × 32 results stays in the tile registers while the depth goes by; weights were laid out as
// tiles beforehand, and what follows the product happens before its results leave the core's cache. For the
// few hundred tokens of a micro-batch this is as fast as oneDNN or faster, and nothing is prepared anew for
// each number of tokens. int8: each token is quantized by its own largest value, so that no text depends on
// its neighbours.

#include "floats.h"
#include "kernels.h"

#if HAS_AMX

#include "threads.h"
#include "tiles.h"

namespace {

constexpr int64_t kBlock = 2 * kTile;    // rows and columns of results at a time
constexpr int64_t kRowsOfTask = 256;     // rows whose share of x stays in the core's second cache
constexpr int64_t kColumnsOfTask = 192;

template <typename T>
struct Linear {
  const T* x;           // [rows, depth]
  const T* tiles;       // [columns / 16, depth / (64 bytes), 16, 64 bytes]
  const float* bias;    // [columns]
  const float* scales;  // of int8 weights, [columns]
  const float* token_scales;  // of int8 tokens, [rows]
  bfloat16* results;    // [rows, columns]
  int64_t rows, depth, columns;
  bool gelu;
};

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

inline Floats result(const Linear<bfloat16>&, const float* sums, int64_t, int64_t) {
  return load(sums);
}
inline Floats result(const Linear<int8_t>& of, const float* sums, int64_t row, int64_t column) {
  const Floats whole = __builtin_convertvector(*(const Ints*)sums, Floats);
  return whole * (load(of.scales + column) * of.token_scales[row]);
}

// results [32, 32] of rows x [32, depth], of which `rows` are real
template <typename T>
inline void compute_block(
    const Linear<T>& of, const T* x, int64_t row, int64_t rows, int64_t column, float* sums) {
  constexpr int64_t step = 64 / sizeof(T);
  const int64_t row_bytes = of.depth * sizeof(T);
  const char* left = (const char*)of.tiles + column * row_bytes;
  const char* right = left + kTile * row_bytes;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t k = 0; k < of.depth; k += step) {
    _tile_loadd(4, x + k, row_bytes);
    _tile_loadd(5, x + kTile * of.depth + k, row_bytes);
    _tile_loadd(6, left, 64);
    _tile_loadd(7, right, 64);
    multiply(T{});
    left += kTileBytes;
    right += kTileBytes;
  }
  _tile_stored(0, sums, 4 * kBlock);
  _tile_stored(1, sums + kTile, 4 * kBlock);
  _tile_stored(2, sums + kTile * kBlock, 4 * kBlock);
  _tile_stored(3, sums + kTile * kBlock + kTile, 4 * kBlock);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < kBlock; j += kTile) {
      bfloat16* const to = of.results + (row + i) * of.columns + column + j;
      store(result(of, sums + i * kBlock + j, row + i, column + j) + load(of.bias + column + j), to);
      if (of.gelu) store(gelu_of(load(to)), to);
    }
}

template <typename T>
void compute(const Linear<T>& of) {
  const int64_t row_tasks = round_up(of.rows, kRowsOfTask) / kRowsOfTask;
  const int64_t column_tasks = round_up(of.columns, kColumnsOfTask) / kColumnsOfTask;
  in_threads([&] {
    alignas(64) float sums[kBlock * kBlock];
    const Scratch last(kBlock * of.depth * sizeof(T));  // the last rows, with zeros below
    const Tiles tiles;
    for_share(row_tasks * column_tasks, [&](int64_t task) {
      const int64_t row_task = task / column_tasks, column_task = task % column_tasks;
      const int64_t end = std::min(of.rows, (row_task + 1) * kRowsOfTask);
      const int64_t stop = std::min(of.columns, (column_task + 1) * kColumnsOfTask);
      for (int64_t column = column_task * kColumnsOfTask; column < stop; column += kBlock)
        for (int64_t row = row_task * kRowsOfTask; row < end; row += kBlock) {
          const int64_t rows = std::min(kBlock, end - row);
          const T* x = of.x + row * of.depth;
          if (rows < kBlock) {
            std::memset(last.bytes, 0, kBlock * of.depth * sizeof(T));
            std::memcpy(last.bytes, x, rows * of.depth * sizeof(T));
            x = (const T*)last.bytes;
          }
          compute_block(of, x, row, rows, column, sums);
        }
    });
  });
}

// each row by its own largest value; `depth` is a multiple of 64
void quantize(const bfloat16* from, int8_t* to, float* scales, int64_t rows, int64_t depth) {
  in_shares(rows, [=](int64_t row) {
    const bfloat16* const in = from + row * depth;
    Floats largest = Floats{};
    for (int64_t i = 0; i < depth; i += kLanes) {
      const Floats x = load(in + i);
      largest = larger(largest, larger(x, -x));
    }
    const float most = std::max(largest_of(largest), 1e-30f);
    scales[row] = most / 127.0f;
    for (int64_t i = 0; i < depth; i += kLanes) {
      const __m512i whole = _mm512_cvtps_epi32((__m512)(load(in + i) * (127.0f / most)));
      _mm_storeu_si128((__m128i*)(to + row * depth + i), _mm512_cvtsepi32_epi8(whole));
    }
  });
}

}  // namespace

#endif

extern "C" void linear_bfloat16(
    const void* x, const void* tiles, const float* bias, void* results, int64_t rows, int64_t depth,
    int64_t columns, int64_t gelu) {
#if HAS_AMX
  compute(Linear<bfloat16>{
      (const bfloat16*)x, (const bfloat16*)tiles, bias, nullptr, nullptr, (bfloat16*)results, rows,
      depth, columns, gelu != 0});
#endif
}

extern "C" void quantize_tokens(
    const void* from, void* to, float* scales, int64_t rows, int64_t depth) {
#if HAS_AMX
  quantize((const bfloat16*)from, (int8_t*)to, scales, rows, depth);
#endif
}

extern "C" void linear_int8(
    const void* x, const float* token_scales, const void* tiles, const float* scales, const float* bias,
    void* results, int64_t rows, int64_t depth, int64_t columns, int64_t gelu) {
#if HAS_AMX
  compute(Linear<int8_t>{
      (const int8_t*)x, (const int8_t*)tiles, bias, scales, token_scales, (bfloat16*)results, rows,
      depth, columns, gelu != 0});
#endif
}

extern "C" int has_tiles() {
#if HAS_AMX
  return may_use_tiles;
#else
  return 0;
#endif
}
