// The functions of the kernels, as Python and as each other calls them.

#pragma once

#include <cstdint>

constexpr int64_t kNothing = 0, kGelu = 1, kGated = 2;

extern "C" {

// whether the system lets the process use the CPU's registers for tiles; where there are none it does
int can_be_used();

// whether `linear_bfloat16`, and `encode` in bfloat16, compute anything
int multiplies_bfloat16();

struct Product {        // a linear layer
  const void* tiles;    // bfloat16 [columns / 16, depth / 32, 16, 32]; int8 [columns / 16, depth / 64, 16, 64]
  const float* scales;  // what 1 stands for in each column, or null: in bfloat16
  const int32_t* starts;  // −128 times the sum of each column's weights, or null
  const float* bias;
  int64_t depth, columns;  // depth is a multiple of 32, in int8 of 64, columns of 32
};

struct Target {
  const Product* product;
  void* results;  // bfloat16 [rows, columns]
};

// results = x · weightᵀ + bias for each of some products of the same depth, bfloat16 x [rows, depth]
// then            what follows: kNothing, kGelu, or kGated: of each 32 columns 16 results, GELU of the first half
//                 times the second
void linear_bfloat16(
    const void* x, const Target* targets, int64_t count, int64_t rows, int64_t then);

// from            bfloat16 [rows, depth], depth is a multiple of 64
// to, scales      [rows, depth] as this kind of CPU reads them, at most 2 bytes each, and what 1 stands for in
//                 each row
void quantize_tokens(const void* from, void* to, float* scales, int64_t rows, int64_t depth);

// x, token_scales   of quantize_tokens
void linear_int8(
    const void* x, const float* token_scales, const Target* targets, int64_t count, int64_t rows,
    int64_t then);

struct Positions {  // what they do to attention; a table begins with the smallest distance, of a key before
                    // the query
  int64_t window;       // the farthest that a token sees; below zero: all that there are
  int64_t distances;    // numbers of a row of the tables, with 32 more than there are distances, or none
  int64_t nearest;      // where in a row distance 0 is
  const float* bias;    // [heads, distances], what each adds to a score, or null
  const void* keys;     // [heads, size, distances], what a query is multiplied by, or null
  const void* queries;  // the same, what a key is multiplied by; bfloat16: [heads, size / 2, distances, 2]
  const float* angles;  // [positions, size], cosines of half a head, then sines, or null
};

// query, key, value   [tokens, heads, size], `…_stride` numbers from a token to the next
// output              [tokens, heads, size], without gaps
// starts              [texts + 1], the first token of each text, and their number
// firsts              whether query and output hold the first token of each text alone
void attend_float32(
    void* query, void* key, const void* value, void* output, int64_t query_stride, int64_t key_stride,
    int64_t value_stride, const int64_t* starts, int64_t texts, int64_t heads, int64_t size,
    float scaling, const Positions* positions, int64_t firsts);
void attend_bfloat16(
    void* query, void* key, const void* value, void* output, int64_t query_stride, int64_t key_stride,
    int64_t value_stride, const int64_t* starts, int64_t texts, int64_t heads, int64_t size,
    float scaling, const Positions* positions, int64_t firsts);

// values [count], changed in place
void gelu_bfloat16(void* values, int64_t count);

// from, to        [rows, size]
// added, sums     what is added to `from` before, [rows, size], and what that makes; or null
// weight, bias    [size], a multiple of 16
void layer_norm_float32(
    const void* from, const void* added, void* sums, const void* weight, const void* bias, void* to,
    int64_t rows, int64_t size, float epsilon);
void layer_norm_bfloat16(
    const void* from, const void* added, void* sums, const void* weight, const void* bias, void* to,
    int64_t rows, int64_t size, float epsilon);

// the same, and `to` quantized as by quantize_tokens; size is a multiple of 64
void layer_norm_int8(
    const void* from, const void* added, void* sums, const void* weight, const void* bias, void* to,
    void* quantized, float* scales, int64_t rows, int64_t size, float epsilon);

struct Norm {
  const void *weight, *bias;
  float epsilon;
};

struct Layer {
  Product query, key, value, attended, inner, outer;
  Norm after_attention, after_outer;
  Positions positions;
};

struct Encoder {
  const Layer* layers;
  int64_t count, heads;
  float scaling;
  int64_t adds_sums;  // whether the sums before a norm, not what it makes of them, are what is added to next
  int64_t gated;      // whether `inner` is kGated
  int64_t firsts;     // whether the first token of each text is all that is wanted
};

// hidden bfloat16 [starts[texts], size] → results, the same, or [texts, size] of the first tokens
// scratch         encode_scratch(encoder, starts[texts]) bytes
void encode(
    const Encoder* encoder, const void* hidden, void* results, const int64_t* starts, int64_t texts,
    void* scratch);
int64_t encode_scratch(const Encoder* encoder, int64_t rows);

}
