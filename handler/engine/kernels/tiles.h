// AMX: products of 16 × 64 bytes by 64 bytes × 16.

#pragma once

#include "floats.h"

#include <sys/syscall.h>
#include <unistd.h>

namespace {

constexpr int64_t kTile = 16;       // rows of a tile, and its 32-bit columns
constexpr int64_t kTileBytes = 1024;

// Linux gives their state to a process that asks: ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
const bool may_use_tiles = syscall(SYS_arch_prctl, 0x1023, 18) == 0;

struct alignas(64) TileShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes_a_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// eight whole tiles for this thread, while it lives
struct Tiles {
  Tiles() {
    const TileShapes shapes;
    _tile_loadconfig(&shapes);
  }
  ~Tiles() { _tile_release(); }
};

}  // namespace
