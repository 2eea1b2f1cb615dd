// What happens between the products, in one pass over memory, on CPUs.

#include "floats.h"
#include "kernels.h"
#include "products.h"
#include "threads.h"

namespace {

void gelu(bfloat16* values, int64_t count) {
  const int64_t whole = count / kLanes * kLanes;
  in_shares(whole / kLanes, [=](int64_t number) {
    bfloat16* const at = values + number * kLanes;
    store(gelu_of(load(at)), at);
  });
  for (int64_t i = whole; i < count; ++i) {
    const Floats x = gelu_of(Floats{} + to_float(values[i]));
    from_float(x[0], values + i);
  }
}

// (x − mean) / √(variance + epsilon) · weight + bias over each row of x = from + added; then(row)
template <typename T, typename Then>
void layer_norm(
    const T* from, const T* added, T* sums, const T* weight, const T* bias, T* to, int64_t rows,
    int64_t size, float epsilon, const Then& then) {
  in_shares(rows, [=](int64_t row) {
    const T* in = from + row * size;
    T* const out = to + row * size;
    if (added) {
      T* const both = sums + row * size;
      for (int64_t i = 0; i < size; i += kLanes)
        store(load(in + i) + load(added + row * size + i), both + i);
      in = both;
    }
    Sum sum, squares;
    for (int64_t i = 0; i < size; i += kLanes) sum.add(load(in + i), i);
    const float mean = sum.total() / float(size);
    for (int64_t i = 0; i < size; i += kLanes) {
      const Floats x = load(in + i) - mean;
      squares.add(x * x, i);
    }
    const float scale = 1.0f / std::sqrt(squares.total() / float(size) + epsilon);
    for (int64_t i = 0; i < size; i += kLanes)
      store((load(in + i) - mean) * scale * load(weight + i) + load(bias + i), out + i);
    then(row);
  });
}

}  // namespace

extern "C" void gelu_bfloat16(void* values, int64_t count) { gelu((bfloat16*)values, count); }

#define LAYER_NORM(name, type)                                                                    \
  extern "C" void name(                                                                           \
      const void* from, const void* added, void* sums, const void* weight, const void* bias,      \
      void* to, int64_t rows, int64_t size, float epsilon) {                                      \
    layer_norm(                                                                                   \
        (const type*)from, (const type*)added, (type*)sums, (const type*)weight,                  \
        (const type*)bias, (type*)to, rows, size, epsilon, [](int64_t) {});                       \
  }

LAYER_NORM(layer_norm_float32, float)
LAYER_NORM(layer_norm_bfloat16, bfloat16)

extern "C" void layer_norm_int8(
    const void* from, const void* added, void* sums, const void* weight, const void* bias, void* to,
    void* quantized, float* scales, int64_t rows, int64_t size, float epsilon) {
  layer_norm(
      (const bfloat16*)from, (const bfloat16*)added, (bfloat16*)sums, (const bfloat16*)weight,
      (const bfloat16*)bias, (bfloat16*)to, rows, size, epsilon, [=](int64_t row) {
        scales[row] =
            quantize((const bfloat16*)to + row * size, (Quantized*)quantized + row * size, size);
      });
}
