// The functions of the kernels, as Python and as each other calls them.

#pragma once

#include <cstdint>

extern "C" {

// whether the system lets the process use the CPU's registers for tiles; where there are none it does
int can_be_used();

// whether `linear_bfloat16`, and `encode` in bfloat16, compute anything
int multiplies_bfloat16();

// x, results      bfloat16 [rows, depth] and [rows, columns]; columns are a multiple of 32
// tiles           weights [columns / 16, depth / 32, 16, 32]; depth is a multiple of 32
// gelu            whether GELU follows
void linear_bfloat16(
    const void* x, const void* tiles, const float* bias, void* results, int64_t rows, int64_t depth,
    int64_t columns, int64_t gelu);

// from            bfloat16 [rows, depth], depth is a multiple of 64
// to, scales      [rows, depth] as this kind of CPU reads them, at most 2 bytes each, and what 1 stands for in
//                 each row
void quantize_tokens(const void* from, void* to, float* scales, int64_t rows, int64_t depth);

// x, token_scales   of quantize_tokens
// tiles, scales     weights [columns / 16, depth / 64, 16, 64], and what 1 stands for in each column
// starts            −128 times the sum of each column's weights
void linear_int8(
    const void* x, const float* token_scales, const void* tiles, const float* scales,
    const int32_t* starts, const float* bias, void* results, int64_t rows, int64_t depth, int64_t columns,
    int64_t gelu);

// query, key, value   [tokens, heads, size], `…_stride` numbers from a token to the next
// output              [tokens, heads, size], without gaps
// starts              [texts + 1], the first token of each text, and their number
// firsts              whether query and output hold the first token of each text alone
void attend_float32(
    const void* query, const void* key, const void* value, void* output, int64_t query_stride,
    int64_t key_stride, int64_t value_stride, const int64_t* starts, int64_t texts, int64_t heads,
    int64_t size, float scaling, int64_t firsts);
void attend_bfloat16(
    const void* query, const void* key, const void* value, void* output, int64_t query_stride,
    int64_t key_stride, int64_t value_stride, const int64_t* starts, int64_t texts, int64_t heads,
    int64_t size, float scaling, int64_t firsts);

// values [count], changed in place
void gelu_bfloat16(void* values, int64_t count);

// from, to        [rows, size]
// added           what is added to `from` before, [rows, size], or null
// weight, bias    [size], a multiple of 16
void layer_norm_float32(
    const void* from, const void* added, const void* weight, const void* bias, void* to, int64_t rows,
    int64_t size, float epsilon);
void layer_norm_bfloat16(
    const void* from, const void* added, const void* weight, const void* bias, void* to, int64_t rows,
    int64_t size, float epsilon);

struct Product {  // a linear layer
  const void* tiles;
  const float* scales;  // null: in bfloat16
  const int32_t* starts;
  const float* bias;
  int64_t depth, columns;
};

struct Norm {
  const void *weight, *bias;
  float epsilon;
};

struct Layer {  // of an encoder as BERT has it
  Product query, key, value, attended, inner, outer;
  Norm after_attention, after_outer;
};

// layers [count]; hidden bfloat16 [starts[texts], size] → firsts [texts, size], the first token of each text
// scratch         encode_scratch(layers, starts[texts]) bytes
void encode(
    const Layer* layers, int64_t count, const void* hidden, void* firsts, const int64_t* starts,
    int64_t texts, int64_t heads, float scaling, void* scratch);
int64_t encode_scratch(const Layer* layers, int64_t rows);

}
