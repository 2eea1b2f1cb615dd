// Intel's tiles in plain C++, for a CPU that has none: `-include` it where kernels are compiled for AMX.
//
// As its manual has them, but that numbers too small for a float's exponent are not taken for 0: sums of
// bfloat16 may differ from AMX's there. That the system gives a process its tiles is not tried.

#pragma once

#include <immintrin.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace emulated {

struct Tile {
  int rows, bytes;  // none until they are configured
  alignas(64) uint8_t data[16][64];
};

inline thread_local Tile tiles[8];

inline void zero(int tile) { memset(tiles[tile].data, 0, sizeof tiles[tile].data); }

inline void configure(const void* shapes) {
  const auto of = (const uint8_t*)shapes;
  if (of[0] != 1) abort();  // as all that follows it would end the process on a CPU that has tiles
  for (int i = 1; i < 64; ++i)
    if (of[i] && (i < 16 || (i >= 32 && i < 48) || i >= 56)) abort();
  for (int tile = 0; tile < 8; ++tile) {
    tiles[tile].bytes = of[16 + 2 * tile] + 256 * of[17 + 2 * tile];
    tiles[tile].rows = of[48 + tile];
    if (tiles[tile].bytes > 64 || tiles[tile].rows > 16 || !tiles[tile].bytes != !tiles[tile].rows) abort();
    zero(tile);
  }
}

inline void release() {
  for (int tile = 0; tile < 8; ++tile) tiles[tile] = {};
}

inline void load(int tile, const void* from, int64_t stride) {
  zero(tile);
  for (int row = 0; row < tiles[tile].rows; ++row)
    memcpy(tiles[tile].data[row], (const uint8_t*)from + row * stride, tiles[tile].bytes);
}

inline void store(int tile, void* to, int64_t stride) {
  for (int row = 0; row < tiles[tile].rows; ++row)
    memcpy((uint8_t*)to + row * stride, tiles[tile].data[row], tiles[tile].bytes);
}

inline float read(const uint8_t* from, uint16_t) {
  uint16_t half;
  memcpy(&half, from, 2);
  const uint32_t bits = (uint32_t)half << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
inline int32_t read(const uint8_t* from, int8_t) { return (int8_t)*from; }

// each row's groups of four bytes times the columns' groups; what stands at one place of a group is summed first
template <typename T, typename Sum>
void add_products(int to, int left, int right) {
  constexpr int each = sizeof(T), count = 4 / each;
  alignas(64) Sum total[16][16], columns[16];
  memcpy(total, tiles[to].data, sizeof total);
  alignas(64) Sum sums[count][16][16] = {};
  for (int group = 0; group < tiles[left].bytes / 4; ++group)
    for (int i = 0; i < count; ++i) {
      for (int column = 0; column < 16; ++column)
        columns[column] = read(&tiles[right].data[group][4 * column + each * i], T{});
      for (int row = 0; row < 16; ++row) {
        const Sum x = read(&tiles[left].data[row][4 * group + each * i], T{});
        for (int column = 0; column < 16; ++column) sums[i][row][column] += x * columns[column];
      }
    }
  for (int row = 0; row < 16; ++row)
    for (int column = 0; column < 16; ++column) {
      Sum sum = 0;
      for (int i = 0; i < count; ++i) sum += sums[i][row][column];
      total[row][column] += sum;
    }
  memcpy(tiles[to].data, total, sizeof total);
}

}  // namespace emulated

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_dpbssd
#define _tile_loadconfig(shapes) emulated::configure(shapes)
#define _tile_release() emulated::release()
#define _tile_zero(tile) emulated::zero(tile)
#define _tile_loadd(tile, from, stride) emulated::load(tile, from, stride)
#define _tile_stored(tile, to, stride) emulated::store(tile, to, stride)
#define _tile_dpbf16ps(to, left, right) emulated::add_products<uint16_t, float>(to, left, right)
#define _tile_dpbssd(to, left, right) emulated::add_products<int8_t, int32_t>(to, left, right)
// by which the system is asked for tiles
#define syscall(...) 0L
