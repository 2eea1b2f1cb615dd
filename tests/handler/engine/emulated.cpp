// The kernels against plain C++, for kinds of CPU that are emulated: a line each with the largest difference,
// and of an encoder in int8 a number that is the same wherever its bits are.

#include "kernels.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

// one thread
extern "C" {
void GOMP_parallel(void (*body)(void*), void* data, unsigned, unsigned) { body(data); }
int omp_get_num_threads() { return 1; }
int omp_get_thread_num() { return 0; }
}

namespace {

using Numbers = std::vector<float>;
using Half = uint16_t;  // bfloat16

uint32_t state = 1;
float random_number() {
  state = state * 1664525u + 1013904223u;
  return float(state >> 8) / float(1 << 23) - 1.0f;
}
Numbers random_numbers(size_t count, float by = 1.0f) {
  Numbers found(count);
  for (float& each : found) each = random_number() * by;
  return found;
}

Half rounded(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return Half((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
float exact(Half value) {
  const uint32_t bits = uint32_t(value) << 16;
  float found;
  std::memcpy(&found, &bits, sizeof found);
  return found;
}
float exact(float value) { return value; }
std::vector<Half> halves(const Numbers& from) {
  std::vector<Half> found(from.size());
  for (size_t i = 0; i < from.size(); ++i) found[i] = rounded(from[i]);
  return found;
}

struct Check {
  const char* name;
  double largest = 0;
  void see(double found, double right) {
    const double difference = std::fabs(found - right) / std::fmax(1.0, std::fabs(right));
    if (!(difference <= largest)) largest = difference;
  }
  ~Check() { std::printf("%s %.3g\n", name, largest); }
};

const std::vector<int64_t> starts = {0, 1, 4, 21, 53, 150};
constexpr int64_t kTexts = 5, kTokens = 150, kHeads = 2, kLongest = 97;

// together   numbers of a table that are multiplied together: 1, of bfloat16 2
template <typename T>
void attend(
    const char* name, void (*kernel)(void*, void*, const void*, void*, int64_t, int64_t, int64_t,
                                     const int64_t*, int64_t, int64_t, int64_t, float, const Positions*, int64_t),
    std::vector<T> (*as)(const Numbers&), int64_t size, int64_t window, bool tables, int64_t together) {
  const int64_t wide = kHeads * size, distances = 2 * kLongest - 1 + 32, nearest = kLongest - 1;
  std::vector<T> query = as(random_numbers(kTokens * wide)), key = as(random_numbers(kTokens * wide));
  const std::vector<T> value = as(random_numbers(kTokens * wide));
  const std::vector<T> keys = as(random_numbers(kHeads * size * distances));
  const std::vector<T> queries = as(random_numbers(kHeads * size * distances));
  const Numbers bias = random_numbers(kHeads * distances);
  std::vector<T> output(kTokens * wide);
  Positions positions{window, 0, 0, nullptr, nullptr, nullptr, nullptr};
  if (tables) positions = {window, distances, nearest, bias.data(), keys.data(), queries.data(), nullptr};
  const float scaling = 1.0f / std::sqrt(float(size));
  kernel(
      query.data(), key.data(), value.data(), output.data(), wide, wide, wide, starts.data(), kTexts, kHeads,
      size, scaling, &positions, 0);
  const auto of_table = [&](const std::vector<T>& table, int64_t head, int64_t d, int64_t at) {
    const int64_t row = head * size / together + d / together;
    return double(exact(table[(row * distances + at) * together + d % together]));
  };
  Check check{name};
  for (int64_t text = 0; text < kTexts; ++text)
    for (int64_t head = 0; head < kHeads; ++head)
      for (int64_t i = starts[text]; i < starts[text + 1]; ++i) {
        std::vector<double> weights;
        double sum = 0;
        for (int64_t j = starts[text]; j < starts[text + 1]; ++j) {
          double score = 0;
          const int64_t at = j - i + nearest;
          for (int64_t d = 0; d < size; ++d) {
            const double q = exact(query[i * wide + head * size + d]);
            const double k = exact(key[j * wide + head * size + d]);
            score += q * k;
            if (tables) score += q * of_table(keys, head, d, at) + k * of_table(queries, head, d, at);
          }
          if (tables) score += bias[head * distances + at];
          const bool seen = window < 0 || std::llabs(i - j) <= window;
          weights.push_back(seen ? std::exp(score * scaling) : 0);
          sum += weights.back();
        }
        for (int64_t d = 0; d < size; ++d) {
          double right = 0;
          for (int64_t j = starts[text]; j < starts[text + 1]; ++j)
            right += weights[j - starts[text]] / sum * exact(value[j * wide + head * size + d]);
          check.see(exact(output[i * wide + head * size + d]), right);
        }
      }
}

// a weight [columns, depth] as the kernels read it, `together` numbers of each column at a time
template <typename T>
std::vector<T> tiles(const std::vector<T>& weight, int64_t columns, int64_t depth, int64_t together) {
  std::vector<T> found(weight.size());
  for (int64_t column = 0; column < columns; ++column)
    for (int64_t k = 0; k < depth; ++k)
      found[column / 16 * 16 * depth + k / together * 16 * together + column % 16 * together + k % together] =
          weight[column * depth + k];
  return found;
}

struct Linear {  // with its memory
  std::vector<int8_t> weight, laid_out;
  Numbers scales, bias;
  std::vector<int32_t> beginnings;
  Product product;

  Linear(int64_t depth, int64_t columns) : weight(depth * columns), beginnings(columns) {
    for (int8_t& each : weight) each = int8_t(std::lround(random_number() * 127));
    for (int64_t column = 0; column < columns; ++column)
      for (int64_t k = 0; k < depth; ++k) beginnings[column] -= 128 * weight[column * depth + k];
    laid_out = tiles(weight, columns, depth, 4);
    scales = random_numbers(columns, 0.001f);
    bias = random_numbers(columns, 0.1f);
    product = {laid_out.data(), scales.data(), beginnings.data(), bias.data(), depth, columns};
  }
  Linear(const Linear&) = delete;
};

void linear_in_int8() {
  const int64_t rows = 37, depth = 192, columns = 96;
  const std::vector<Half> x = halves(random_numbers(rows * depth, 3));
  const Linear linear(depth, columns);
  std::vector<int16_t> quantized(rows * depth);
  Numbers token_scales(rows);
  quantize_tokens(x.data(), quantized.data(), token_scales.data(), rows, depth);
  for (const int64_t then : {kNothing, kGelu, kGated}) {
    std::vector<Half> results(rows * columns);
    const Target target{&linear.product, results.data()};
    linear_int8(quantized.data(), token_scales.data(), &target, 1, rows, then);
    const char* const names[] = {"linear int8", "linear int8 gelu", "linear int8 gated"};
    Check check{names[then]};
    for (int64_t row = 0; row < rows; ++row) {
      float most = 0;
      for (int64_t k = 0; k < depth; ++k) most = std::fmax(most, std::fabs(exact(x[row * depth + k])));
      const auto result = [&](int64_t column) {
        int64_t sum = 0;
        for (int64_t k = 0; k < depth; ++k)
          sum += std::lrint(exact(x[row * depth + k]) * (127.0f / most)) * linear.weight[column * depth + k];
        return double(sum) * (most / 127.0f) * linear.scales[column] + linear.bias[column];
      };
      const auto gelu = [](double value) { return value * 0.5 * (1 + std::erf(value / std::sqrt(2.0))); };
      for (int64_t column = 0; column < columns; ++column) {
        if (then == kGated && column % 32 >= 16) continue;
        double right = result(column);
        if (then != kNothing) right = gelu(right);
        if (then == kGated) right *= result(column + 16);
        const int64_t at = then == kGated ? row * columns / 2 + column / 32 * 16 + column % 16
                                          : row * columns + column;
        check.see(exact(results[at]), right);
      }
    }
  }
}

void linear_in_bfloat16() {
  if (!multiplies_bfloat16()) return;
  const int64_t rows = 37, depth = 96, columns = 64;
  const std::vector<Half> x = halves(random_numbers(rows * depth));
  const std::vector<Half> weight = halves(random_numbers(columns * depth));
  const std::vector<Half> laid_out = tiles(weight, columns, depth, 2);
  const Numbers bias = random_numbers(columns);
  std::vector<Half> results(rows * columns);
  const Product product{laid_out.data(), nullptr, nullptr, bias.data(), depth, columns};
  const Target target{&product, results.data()};
  linear_bfloat16(x.data(), &target, 1, rows, kNothing);
  Check check{"linear bfloat16"};
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = 0; column < columns; ++column) {
      double right = bias[column];
      for (int64_t k = 0; k < depth; ++k)
        right += double(exact(x[row * depth + k])) * exact(weight[column * depth + k]);
      check.see(exact(results[row * columns + column]), right);
    }
}

void layer_norm() {
  const int64_t rows = 5, size = 96;
  const Numbers from = random_numbers(rows * size), weight = random_numbers(size), bias = random_numbers(size);
  Numbers to(rows * size);
  layer_norm_float32(from.data(), nullptr, nullptr, weight.data(), bias.data(), to.data(), rows, size, 1e-5f);
  Check check{"layer norm"};
  for (int64_t row = 0; row < rows; ++row) {
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < size; ++i) mean += from[row * size + i] / size;
    for (int64_t i = 0; i < size; ++i) variance += std::pow(from[row * size + i] - mean, 2) / size;
    for (int64_t i = 0; i < size; ++i)
      check.see(
          to[row * size + i],
          (from[row * size + i] - mean) / std::sqrt(variance + 1e-5) * weight[i] + bias[i]);
  }
}

// of BERT's shape and of ModernBERT's
void encode_in_int8(bool modern) {
  state = 1;  // whatever was computed before
  const int64_t size = 128, between = 192;
  std::vector<Linear*> kept;
  const auto product = [&](int64_t depth, int64_t columns) {
    kept.push_back(new Linear(depth, columns));
    return kept.back()->product;
  };
  const std::vector<Half> ones = halves(Numbers(size, 1.0f)), zeros = halves(Numbers(size, 0.0f));
  Numbers angles(kLongest * size / kHeads);
  for (size_t i = 0; i < angles.size(); ++i) {
    const double angle = double(i / (size / kHeads)) / std::pow(100.0, double(i % 32) / 32);
    angles[i] = rounded(float(i % 64 < 32 ? std::cos(angle) : std::sin(angle))) / 65536.0f;
  }
  const Norm norm{ones.data(), zeros.data(), 1e-5f};
  std::vector<Layer> layers;
  for (int layer = 0; layer < 3; ++layer)
    layers.push_back(
        {product(size, size), product(size, size), product(size, size), product(size, size),
         product(size, modern ? 2 * between : between), product(between, size), norm, norm,
         {modern && layer ? 8 : -1, 0, 0, nullptr, nullptr, nullptr, modern ? angles.data() : nullptr}});
  const Encoder encoder{layers.data(), 3, kHeads, 0.125f, modern, modern, !modern};
  const std::vector<Half> hidden = halves(random_numbers(kTokens * size));
  std::vector<Half> results((modern ? kTokens : kTexts) * size);
  std::vector<char> scratch(encode_scratch(&encoder, kTokens) + 64);
  void* const aligned = (void*)(((uintptr_t)scratch.data() + 63) / 64 * 64);
  encode(&encoder, hidden.data(), results.data(), starts.data(), kTexts, aligned);
  uint32_t seen = 2166136261u;
  for (const Half each : results) seen = (seen ^ each) * 16777619u;
  std::printf("encode int8 %s %u\n", modern ? "modernbert" : "bert", seen);
  for (Linear* each : kept) delete each;
}

Numbers as_they_are(const Numbers& from) { return from; }

}  // namespace

int main() {
  for (const int64_t size : {32, 26}) {
    attend<float>("attend float32", attend_float32, as_they_are, size, -1, false, 1);
    attend<float>("attend float32 distances", attend_float32, as_they_are, size, -1, true, 1);
    attend<float>("attend float32 window", attend_float32, as_they_are, size, 7, false, 1);
    attend<Half>("attend bfloat16", attend_bfloat16, halves, size, -1, false, 2);
    attend<Half>("attend bfloat16 distances", attend_bfloat16, halves, size, -1, true, 2);
    attend<Half>("attend bfloat16 window", attend_bfloat16, halves, size, 7, false, 2);
  }
  linear_in_int8();
  linear_in_bfloat16();
  layer_norm();
  encode_in_int8(false);
  encode_in_int8(true);
}
