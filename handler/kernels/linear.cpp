// Linear layers with int8 weights, x · Wᵀ + b with or without GELU behind it, on CPUs with AMX.
//
// Each token is quantized by its own largest value, so that no text depends on its neighbours. A block of
// 32 × 32 results stays in the tile registers while the depth goes by; weights were laid out as tiles
// beforehand, and what follows the product happens before its results leave the core's cache.

#include "floats.h"

#if HAS_AMX

#include "tiles.h"

namespace {

constexpr int64_t kBlock = 2 * kTile;    // rows and columns of results at a time
constexpr int64_t kRowsOfTask = 256;     // rows whose share of x stays in the core's second cache
constexpr int64_t kColumnsOfTask = 192;

struct Linear {
  const int8_t* x;            // [rows, depth]
  const float* token_scales;  // [rows]
  const int8_t* tiles;        // [columns / 16, depth / 64, 16, 64]
  const float* scales;        // [columns]
  const float* bias;          // [columns]
  bfloat16* results;          // [rows, columns]
  int64_t rows, depth, columns;
  bool gelu;
};

// results [32, 32] from `row` and `column` on; x [32, depth] are its rows, of which `rows` are real
inline void compute_block(
    const Linear& of, const int8_t* x, int64_t row, int64_t rows, int64_t column, int32_t* sums) {
  const int8_t* left = of.tiles + column * of.depth;
  const int8_t* right = left + kTile * of.depth;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t k = 0; k < of.depth; k += 64) {
    _tile_loadd(4, x + k, of.depth);
    _tile_loadd(5, x + kTile * of.depth + k, of.depth);
    _tile_loadd(6, left, 64);
    _tile_loadd(7, right, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
    left += kTileBytes;
    right += kTileBytes;
  }
  _tile_stored(0, sums, 4 * kBlock);
  _tile_stored(1, sums + kTile, 4 * kBlock);
  _tile_stored(2, sums + kTile * kBlock, 4 * kBlock);
  _tile_stored(3, sums + kTile * kBlock + kTile, 4 * kBlock);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < kBlock; j += kTile) {
      const Floats sum = __builtin_convertvector(*(const Ints*)(sums + i * kBlock + j), Floats);
      const Floats scale = load(of.scales + column + j) * of.token_scales[row + i];
      const Floats y = sum * scale + load(of.bias + column + j);
      store(of.gelu ? gelu_of(y) : y, of.results + (row + i) * of.columns + column + j);
    }
}

void compute(const Linear& of) {
  const int64_t row_tasks = round_up(of.rows, kRowsOfTask) / kRowsOfTask;
  const int64_t column_tasks = round_up(of.columns, kColumnsOfTask) / kColumnsOfTask;
#pragma omp parallel
  {
    alignas(64) int32_t sums[kBlock * kBlock];
    const Scratch last(kBlock * of.depth);  // the last rows, with zeros below
    const Tiles tiles;
#pragma omp for collapse(2) schedule(static)
    for (int64_t row_task = 0; row_task < row_tasks; ++row_task)
      for (int64_t column_task = 0; column_task < column_tasks; ++column_task) {
        const int64_t end = std::min(of.rows, (row_task + 1) * kRowsOfTask);
        const int64_t stop = std::min(of.columns, (column_task + 1) * kColumnsOfTask);
        for (int64_t column = column_task * kColumnsOfTask; column < stop; column += kBlock)
          for (int64_t row = row_task * kRowsOfTask; row < end; row += kBlock) {
            const int64_t rows = std::min(kBlock, end - row);
            const int8_t* x = of.x + row * of.depth;
            if (rows < kBlock) {
              std::memset(last.bytes, 0, kBlock * of.depth);
              std::memcpy(last.bytes, x, rows * of.depth);
              x = (const int8_t*)last.bytes;
            }
            compute_block(of, x, row, rows, column, sums);
          }
      }
  }
}

// each row by its own largest value; `depth` is a multiple of 64
void quantize(const bfloat16* from, int8_t* to, float* scales, int64_t rows, int64_t depth) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
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
  }
}

}  // namespace

#endif

// x, results      bfloat16 [rows, depth] and [rows, columns]; depth is a multiple of 64, columns of 32
// tiles, scales   weights [columns / 16, depth / 64, 16, 64], and what 1 stands for in each column
// quantized, token_scales   scratch of [rows, depth] and [rows]
extern "C" void linear_int8(
    const void* x, const void* tiles, const float* bias, const float* scales, void* quantized,
    float* token_scales, void* results, int64_t rows, int64_t depth, int64_t columns, int gelu) {
#if HAS_AMX
  quantize((const bfloat16*)x, (int8_t*)quantized, token_scales, rows, depth);
  compute(Linear{
      (const int8_t*)quantized, token_scales, (const int8_t*)tiles, scales, bias, (bfloat16*)results,
      rows, depth, columns, gelu != 0});
#endif
}

// whether `linear_int8` computes anything
extern "C" int multiplies_int8() {
#if HAS_AMX
  return may_use_tiles;
#else
  return 0;
#endif
}
