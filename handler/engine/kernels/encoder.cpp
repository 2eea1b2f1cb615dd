// All layers of an encoder as BERT has it, or ModernBERT, in one call, on CPUs.
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
  bfloat16 *states, *sums, *attended, *queries, *keys, *values, *context;  // [rows, size]
  bfloat16* wide;                                                          // [rows, widest]
  Quantized* quantized;                                                    // [rows, widest]
  float* token_scales;                                                     // [rows]

  Parts(Room& room, const Layer& layer, int64_t rows) {
    const int64_t size = layer.query.depth;
    for (bfloat16** part : {&states, &sums, &attended, &queries, &keys, &values, &context})
      *part = room.take<bfloat16>(rows * size);
    wide = room.take<bfloat16>(rows * widest(layer));
    quantized = room.take<Quantized>(rows * widest(layer));
    token_scales = room.take<float>(rows);
  }
};

// results = x · weightᵀ + bias for each target; in int8 x is quantized once for all of them, or was before
void multiply(
    const Parts& parts, const bfloat16* x, int64_t rows, std::initializer_list<Target> targets,
    bool was_quantized, int64_t then = kNothing) {
  const Product& first = *targets.begin()->product;
  if (!first.scales) return linear_bfloat16(x, targets.begin(), targets.size(), rows, then);
  if (!was_quantized) quantize_tokens(x, parts.quantized, parts.token_scales, rows, first.depth);
  linear_int8(parts.quantized, parts.token_scales, targets.begin(), targets.size(), rows, then);
}

// `to` is quantized too where `next` is a product in int8
void add_and_norm(
    const Parts& parts, const bfloat16* added, bfloat16* sums, const Norm& norm, bfloat16* to,
    int64_t rows, int64_t size, const Product& next) {
  if (next.scales)
    layer_norm_int8(
        parts.queries, added, sums, norm.weight, norm.bias, to, parts.quantized, parts.token_scales,
        rows, size, norm.epsilon);
  else
    layer_norm_bfloat16(
        parts.queries, added, sums, norm.weight, norm.bias, to, rows, size, norm.epsilon);
}

}  // namespace

extern "C" int64_t encode_scratch(const Encoder* encoder, int64_t rows) {
  Room room{0};
  const Parts parts(room, *encoder->layers, rows);
  return room.taken;
}

extern "C" void encode(
    const Encoder* encoder, const void* hidden, void* results, const int64_t* starts, int64_t texts,
    void* scratch) {
  const int64_t tokens = starts[texts], size = encoder->layers[0].query.depth;
  Room room{(uintptr_t)scratch};
  const Parts parts(room, encoder->layers[0], tokens);
  const bfloat16 *x = (const bfloat16*)hidden, *added = x;  // what a layer reads, and what it is added to
  int64_t rows = tokens;
  const auto first_tokens = [&](const bfloat16* from, bfloat16* to) {
    for (int64_t text = 0; text < texts; ++text)
      std::memcpy(to + text * size, from + starts[text] * size, size * sizeof *from);
    return to;
  };
  for (int64_t number = 0; number < encoder->count; ++number) {
    const Layer& layer = encoder->layers[number];
    const bool last = number == encoder->count - 1, firsts = last && encoder->firsts;
    const Target query{&layer.query, parts.queries}, key{&layer.key, parts.keys};
    const Target value{&layer.value, parts.values};
    if (!firsts) {
      multiply(parts, x, rows, {query, key, value}, number > 0);
    } else {
      multiply(parts, x, rows, {key, value}, number > 0);
      rows = texts;
      multiply(parts, first_tokens(x, parts.wide), rows, {query}, false);
      added = first_tokens(added, parts.wide);
    }
    attend_bfloat16(
        parts.queries, parts.keys, parts.values, parts.context, size, size, size, starts, texts,
        encoder->heads, size / encoder->heads, encoder->scaling, &layer.positions, firsts);
    // queries are needed no more: what is added before a norm goes there
    multiply(parts, parts.context, rows, {{&layer.attended, parts.queries}}, false);
    const auto sums_or = [&](bfloat16* normed) { return encoder->adds_sums ? parts.sums : normed; };
    add_and_norm(
        parts, added, sums_or(parts.attended), layer.after_attention, parts.attended, rows, size,
        layer.inner);
    added = sums_or(parts.attended);
    multiply(
        parts, parts.attended, rows, {{&layer.inner, parts.wide}}, true,
        encoder->gated ? kGated : kGelu);
    multiply(parts, parts.wide, rows, {{&layer.outer, parts.queries}}, false);
    bfloat16* const to = last ? (bfloat16*)results : parts.states;
    add_and_norm(parts, added, sums_or(to), layer.after_outer, to, rows, size, layer.query);
    x = parts.states;
    added = sums_or(parts.states);
  }
}
