// All layers of an encoder as BERT has it, in one call, on CPUs.
//
// Between the products of a layer little happens, and calling it step by step from Python would take a
// lone text as long as computing it. Behind the last layer only the first token of each text is looked at,
// so that layer computes keys and values of all tokens, and all else of the first ones.

#include "floats.h"
#include "kernels.h"
#include "products.h"

#include <initializer_list>

namespace {

int64_t widest(const Layer& layer) { return std::max(layer.inner.columns, layer.query.depth); }

struct Room {  // parts of one piece of memory, one after the other
  const uintptr_t memory;
  int64_t taken = 0;

  template <typename T>
  T* take(int64_t count) {
    T* const part = (T*)(memory + taken);
    taken += round_up(count * sizeof(T), 64);
    return part;
  }
};

struct Parts {
  bfloat16 *states, *attended, *queries, *keys, *values, *context;  // [rows, size]
  bfloat16* wide;                                                   // [rows, widest]
  Quantized* quantized;                                               // [rows, widest]
  float* token_scales;                                              // [rows]

  Parts(Room& room, const Layer& layer, int64_t rows) {
    const int64_t size = layer.query.depth;
    for (bfloat16** part : {&states, &attended, &queries, &keys, &values, &context})
      *part = room.take<bfloat16>(rows * size);
    wide = room.take<bfloat16>(rows * widest(layer));
    quantized = room.take<Quantized>(rows * widest(layer));
    token_scales = room.take<float>(rows);
  }
};

// results = x · weightᵀ + bias for each product and its results; x is quantized once for all of them
struct Target {
  const Product& product;
  bfloat16* results;
};

void multiply(
    const Parts& parts, const bfloat16* x, int64_t rows, std::initializer_list<Target> targets,
    bool gelu = false) {
  const Product& first = targets.begin()->product;
  if (first.scales) quantize_tokens(x, parts.quantized, parts.token_scales, rows, first.depth);
  for (const auto& [product, results] : targets)
    if (product.scales)
      linear_int8(
          parts.quantized, parts.token_scales, product.tiles, product.scales, product.starts,
          product.bias, results, rows, product.depth, product.columns, gelu);
    else
      linear_bfloat16(
          x, product.tiles, product.bias, results, rows, product.depth, product.columns, gelu);
}

void add_and_norm(
    const bfloat16* from, const bfloat16* added, const Norm& norm, bfloat16* to, int64_t rows,
    int64_t size) {
  layer_norm_bfloat16(from, added, norm.weight, norm.bias, to, rows, size, norm.epsilon);
}

}  // namespace

extern "C" int64_t encode_scratch(const Layer* layers, int64_t rows) {
  Room room{0};
  const Parts parts(room, *layers, rows);
  return room.taken;
}

extern "C" void encode(
    const Layer* layers, int64_t count, const void* hidden, void* firsts, const int64_t* starts,
    int64_t texts, int64_t heads, float scaling, void* scratch) {
  const int64_t tokens = starts[texts], size = layers[0].query.depth;
  Room room{(uintptr_t)scratch};
  const Parts parts(room, layers[0], tokens);
  const bfloat16* x = (const bfloat16*)hidden;
  int64_t rows = tokens;
  for (int64_t number = 0; number < count; ++number) {
    const Layer& layer = layers[number];
    const bool last = number == count - 1;
    if (!last) {
      multiply(
          parts, x, rows,
          {{layer.query, parts.queries}, {layer.key, parts.keys}, {layer.value, parts.values}});
    } else {
      multiply(parts, x, rows, {{layer.key, parts.keys}, {layer.value, parts.values}});
      for (int64_t text = 0; text < texts; ++text)
        std::memcpy(parts.wide + text * size, x + starts[text] * size, size * sizeof *x);
      x = parts.wide;
      rows = texts;
      multiply(parts, x, rows, {{layer.query, parts.queries}});
    }
    attend_bfloat16(
        parts.queries, parts.keys, parts.values, parts.context, size, size, size, starts, texts, heads,
        size / heads, scaling, last);
    multiply(parts, parts.context, rows, {{layer.attended, parts.queries}});
    add_and_norm(parts.queries, x, layer.after_attention, parts.attended, rows, size);
    multiply(parts, parts.attended, rows, {{layer.inner, parts.wide}}, true);
    multiply(parts, parts.wide, rows, {{layer.outer, parts.queries}});
    bfloat16* const to = last ? (bfloat16*)firsts : parts.states;
    add_and_norm(parts.queries, parts.attended, layer.after_outer, to, rows, size);
    x = parts.states;
  }
}
