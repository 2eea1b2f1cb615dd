// Attention within each text of a packed row of tokens, softmax(scaling · Q·Kᵀ)·V, on CPUs.
//
// torch's own function takes texts of one length and is made for long ones; short texts in it spend most of
// their time around the products. Here a task is one head of one text, its keys, values and scores stay in
// the core's own cache, and texts of any lengths lie side by side without padding. Sums are float32.

#include "floats.h"
#include "kernels.h"
#include "products.h"
#include "threads.h"

// whether heads of bfloat16 are multiplied as such; elsewhere as floats
#if defined(__AVX512BF16__)
#define IN_PAIRS 1
#else
#define IN_PAIRS 0
#endif

namespace {

// scores [padded] of one token become e^(scaling · (score − largest)), next to nothing before `begin` and from
// `end` on; returns their sum
inline float exponentials(
    float* scores, int64_t begin, int64_t end, int64_t padded, float scaling) {
  for (int64_t j = 0; j < begin; j += kLanes) {
    Floats* const far = (Floats*)(scores + j);
    *far = lane_numbers + float(j) < float(begin) ? Floats{} - INFINITY : *far;
  }
  for (int64_t j = end / kLanes * kLanes; j < padded; j += kLanes) {
    Floats* const far = (Floats*)(scores + j);
    *far = lane_numbers + float(j) < float(end) ? *far : Floats{} - INFINITY;
  }
  Floats largest = *(Floats*)scores;
  for (int64_t j = kLanes; j < padded; j += kLanes) largest = larger(largest, *(Floats*)(scores + j));
  const float most = largest_of(largest);
  Sum sum;
  for (int64_t j = 0; j < padded; j += kLanes) {
    const Floats x = exp_of((*(Floats*)(scores + j) - most) * scaling);
    *(Floats*)(scores + j) = x;
    sum.add(x, j);
  }
  return sum.total();
}

template <typename T>
struct Head {  // of one text; rows are `stride` numbers apart
  T *query, *key;  // turned in place where a model turns them by their position
  const T* value;
  int64_t query_stride, key_stride, value_stride;
  T* output;
  int64_t output_stride;
  int64_t queries, length, size;
  float scaling;
  const Positions& positions;
  int64_t number;  // of the head
};

struct Range {  // of the keys that some queries see
  int64_t begin, end;
};
// of queries first … last; `multiple` is what ranges begin and end at
template <typename T>
inline Range seen(const Head<T>& head, int64_t first, int64_t last, int64_t multiple) {
  const int64_t window = head.positions.window;
  if (window < 0) return {0, round_up(head.length, multiple)};
  return {
      std::max<int64_t>(0, first - window) / multiple * multiple,
      round_up(std::min(head.length, last + window + 1), multiple)};
}

// the same, for scores of the keys from `from` on
template <typename T>
inline float exponentials(
    const Head<T>& head, float* scores, int64_t query, int64_t from, int64_t padded) {
  const Range range = seen(head, query, query, 1);
  return exponentials(scores, range.begin - from, range.end - from, padded, head.scaling);
}

// numbers x and y of each pair become x · cos − y · sin and y · cos + x · sin of their position's angle; halves of
// a head are the pairs
template <typename T>
void turn(T* rows, int64_t stride, int64_t count, int64_t size, const float* angles) {
  const int64_t half = size / 2;
  for (int64_t row = 0; row < count; ++row, rows += stride, angles += size)
    for (int64_t d = 0; d < half; d += kLanes) {
      const Floats x = load(rows + d), y = load(rows + half + d);
      const Floats cosines = load(angles + d), sines = load(angles + half + d);
      store(x * cosines - y * sines, rows + d);
      store(y * cosines + x * sines, rows + half + d);
    }
}

// what the distances between tokens add to scores [rows, padded] of the queries from `first` on and the keys
// from `from` on. Two neighbours in depth at a time: of a query `query_of(row, pair)`, of kLanes keys
// `key_of(column, pair)`, of kLanes distances `table_of(table, pair, distance)`.
template <int most, typename T, typename Query, typename Key, typename Table>
inline void add_distances(
    const Head<T>& head, int64_t first, int64_t rows, int64_t from, int64_t padded, float* scores,
    const Query& query_of, const Key& key_of, const Table& table_of) {
  const Positions& positions = head.positions;
  const int64_t distances = positions.distances;
  if (distances == 0) return;
  const auto of_head = [&](const auto* table, int64_t rows) {
    return table ? table + head.number * rows * distances : nullptr;
  };
  const float* const bias = of_head(positions.bias, 1);
  const T* const keys = of_head((const T*)positions.keys, head.size);
  const T* const queries = of_head((const T*)positions.queries, head.size);
  int64_t distance[most];  // that of column 0; what is past the last row is computed like it, and not kept
  for (int64_t row = 0; row < most; ++row)
    distance[row] = positions.nearest + from - first - std::min(row, rows - 1);
  for (int64_t j = 0; j < padded; j += kLanes) {
    Floats sums[most] = {};
    if (bias)
      for (int row = 0; row < most; ++row) sums[row] = load(bias + distance[row] + j);
    if (keys)
      for (int64_t pair = 0; pair < head.size / 2; ++pair)
#pragma GCC unroll 12
        for (int row = 0; row < most; ++row)
          sums[row] = add_pairs(sums[row], query_of(row, pair), table_of(keys, pair, distance[row] + j));
    if (queries)
      for (int64_t pair = 0; pair < head.size / 2; ++pair) {
        const auto key = key_of(j, pair);
#pragma GCC unroll 12
        for (int row = 0; row < most; ++row)
          sums[row] = add_pairs(sums[row], key, table_of(queries, pair, distance[row] + j));
      }
    for (int64_t row = 0; row < rows; ++row) {
      float* const to = scores + row * padded + j;
      store(load(to) + sums[row], to);
    }
  }
}

// two neighbours in depth, each in lanes
struct Pair {
  Floats first, second;
};
inline Floats add_pairs(Floats sums, Pair x, Pair y) {
  sums += x.second * y.second;
  return sums + x.first * y.first;
}
// of distances from a table [size, distances], or [size / 2, distances, 2]
inline Pair pair_of(const float* table, int64_t pair, int64_t distances, int64_t at) {
  const float* const from = table + 2 * pair * distances + at;
  return {load(from), load(from + distances)};
}
inline Pair pair_of(const bfloat16* table, int64_t pair, int64_t distances, int64_t at) {
  const Bits both = *(const Bits*)(table + 2 * (pair * distances + at));
  return {(Floats)(both << 16), (Floats)(both >> 16 << 16)};
}

// ---- any CPU: float32 arithmetic

#if defined(__AVX512F__)
constexpr int kRows = 8;  // rows whose sums the registers hold
#else
constexpr int kRows = 3;
#endif
constexpr int64_t kWide = 2 * kLanes;

// c[kRows, kWide] = a[kRows, depth] · b[depth, kWide]; of two neighbours in depth the second is added first, as
// instructions for bfloat16 do, so that sums are the same with them and without; depth is even
inline void product(
    const float* a, int64_t a_stride, const float* b, int64_t b_stride, int64_t depth, float* c,
    int64_t c_stride) {
  Floats sums[kRows][2] = {};
  for (int64_t step = 0; step < depth; ++step) {
    const int64_t k = step ^ 1;
    const Floats left = *(const Floats*)(b + k * b_stride);
    const Floats right = *(const Floats*)(b + k * b_stride + kLanes);
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row) {
      sums[row][0] += a[row * a_stride + k] * left;
      sums[row][1] += a[row * a_stride + k] * right;
    }
  }
#pragma GCC unroll 8
  for (int row = 0; row < kRows; ++row) {
    *(Floats*)(c + row * c_stride) = sums[row][0];
    *(Floats*)(c + row * c_stride + kLanes) = sums[row][1];
  }
}

int64_t scratch_of_floats(int64_t longest, int64_t size) {
  const int64_t padded = round_up(longest, kWide), wide = round_up(size, kWide);
  return sizeof(float) * (2 * wide * padded + kRows * 2 * wide + std::max(kRows * padded, kLanes * wide));
}

// token `number` of a text as floats, [wide]; zeros past its size and past the text
template <typename T>
inline void unpack(
    const T* tokens, int64_t stride, int64_t number, int64_t length, int64_t size, int64_t wide,
    float* to) {
  const T* from = tokens + number * stride;
  const int64_t real = number < length ? size : 0;
  for (int64_t d = 0; d < real; ++d) to[d] = to_float(from[d]);
  for (int64_t d = real; d < wide; ++d) to[d] = 0;
}

template <typename T>
void attend_in_floats(const Head<T>& head, void* scratch) {
  const int64_t padded = round_up(head.length, kWide), wide = round_up(head.size, kWide);
  float* keys = (float*)scratch;                // [size, padded], transposed
  float* values = keys + wide * padded;         // [length, wide]
  float* queries = values + padded * wide;      // [kRows, wide]
  float* results = queries + kRows * wide;      // [kRows, wide]
  float* scores = results + kRows * wide;       // [kRows, padded]
  for (int64_t j = 0; j < padded; ++j)
    unpack(head.value, head.value_stride, j, head.length, head.size, wide, values + j * wide);
  for (int64_t j = 0; j < padded; j += kLanes) {
    float* block = scores;  // [kLanes, wide], free as yet
    for (int64_t row = 0; row < kLanes; ++row)
      unpack(head.key, head.key_stride, j + row, head.length, head.size, wide, block + row * wide);
    for (int64_t d = 0; d < head.size; d += kLanes) {
      Floats rows[kLanes];
      for (int64_t row = 0; row < kLanes; ++row) rows[row] = *(Floats*)(block + row * wide + d);
      transpose(rows);
      for (int64_t row = 0; row < kLanes; ++row) *(Floats*)(keys + (d + row) * padded + j) = rows[row];
    }
  }
  for (int64_t first = 0; first < head.queries; first += kRows) {
    const int64_t rows = std::min<int64_t>(kRows, head.queries - first);
    for (int64_t row = 0; row < kRows; ++row)
      unpack(
          head.query, head.query_stride, first + row, head.queries, head.size, wide,
          queries + row * wide);
    const Range range = seen(head, first, first + rows - 1, kWide);
    const int64_t from = range.begin, width = range.end - from;
    for (int64_t j = 0; j < width; j += kWide)
      product(queries, wide, keys + from + j, padded, round_up(head.size, 2), scores + j, width);
    add_distances<kRows>(
        head, first, rows, from, width, scores,
        [&](int64_t row, int64_t pair) {
          const float* const at = queries + row * wide + 2 * pair;
          return Pair{Floats{} + at[0], Floats{} + at[1]};
        },
        [&](int64_t j, int64_t pair) { return pair_of(keys, pair, padded, from + j); },
        [&](const T* table, int64_t pair, int64_t at) {
          return pair_of(table, pair, head.positions.distances, at);
        });
    float sums[kRows];
    for (int64_t row = 0; row < rows; ++row)
      sums[row] = exponentials(head, scores + row * width, first + row, from, width);
    for (int64_t j = 0; j < kRows * width; ++j) scores[j] = to_float(rounded<T>(scores[j]));
    for (int64_t d = 0; d < wide; d += kWide)
      product(
          scores, width, values + from * wide + d, wide,
          round_up(std::min(head.length - from, width), 2), results + d, wide);
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t d = 0; d < head.size; ++d)
        from_float(
            results[row * wide + d] * (1.0f / sums[row]),
            head.output + (first + row) * head.output_stride + d);
  }
}

// ---- CPUs that multiply bfloat16: weights and values as the products of linear layers take them

#if IN_PAIRS

constexpr int64_t kSide = 16;   // columns of a tile
constexpr int64_t kDepth = 32;  // bfloat16 numbers of each of them
#if HAS_AMX
constexpr int64_t kQueries = kTile;
#else
constexpr int64_t kQueries = Multiplier<bfloat16>::kRows;
#endif

int64_t scratch_of_pairs(int64_t longest, int64_t size) {
  const int64_t padded = round_up(longest, kDepth);
  return 2 * (2 * padded * size) + kQueries * (padded * (sizeof(float) + 2) + size * (sizeof(float) + 2));
}

// tiles [padded / 16, size / 32] of the keys, for Q · Kᵀ
inline void lay_out_keys(const Head<bfloat16>& head, int64_t padded, bfloat16* to) {
  for (int64_t j = 0; j < padded; j += kSide)
    for (int64_t d = 0; d < head.size; d += kDepth) {
      Floats rows[kSide] = {};  // each of 16 pairs
      for (int64_t row = 0; row < std::min(kSide, head.length - j); ++row)
        std::memcpy(rows + row, head.key + (j + row) * head.key_stride + d, sizeof *rows);
      transpose(rows);
      std::memcpy(to + j * head.size + d * kSide, rows, sizeof rows);
    }
}

// tiles [size / 16, padded / 32] of the values, for weights · V
inline void lay_out_values(const Head<bfloat16>& head, int64_t padded, bfloat16* to) {
  for (int64_t j = 0; j < padded; j += 2)
    for (int64_t d = 0; d < head.size; d += kSide) {
      __m512i pair[2];
      for (int64_t odd = 0; odd < 2; ++odd) {
        const bfloat16* const from = head.value + (j + odd) * head.value_stride + d;
        pair[odd] = j + odd < head.length
            ? _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from))
            : _mm512_setzero_si512();
      }
      _mm512_storeu_si512(
          to + d * padded + j * kSide, _mm512_or_si512(pair[0], _mm512_slli_epi32(pair[1], 16)));
    }
}

#if HAS_AMX

// results [16, columns] of x [16, depth] and tiles whose columns are `tall` numbers apart
inline void multiply(
    const bfloat16* x, int64_t stride, int64_t, int64_t depth, const bfloat16* tiles, int64_t tall,
    int64_t columns, float* results) {
  for (int64_t j = 0; j < columns; j += kDepth) {  // two tiles at a time
    const bfloat16* const left = tiles + j * tall;
    const bfloat16* const right = left + kSide * tall;
    _tile_zero(0);
    _tile_zero(1);
    for (int64_t d = 0; d < depth; d += kDepth) {
      _tile_loadd(2, x + d, 2 * stride);
      _tile_loadd(3, left + d * kSide, 64);
      _tile_loadd(4, right + d * kSide, 64);
      _tile_dpbf16ps(0, 2, 3);
      _tile_dpbf16ps(1, 2, 4);
    }
    _tile_stored(0, results + j, 4 * columns);
    _tile_stored(1, results + j + kTile, 4 * columns);
  }
}

#else

inline void multiply(
    const bfloat16* x, int64_t, int64_t rows, int64_t depth, const bfloat16* tiles, int64_t tall,
    int64_t columns, float* results) {
  for (int64_t j = 0; j < columns; j += kDepth) {
    const bfloat16* const left = tiles + j * tall;
    Multiplier<bfloat16>::sum(
        x, rows, depth, left, left + kSide * tall, nullptr, results + j, columns);
  }
}

#endif

struct Pairs16 {  // two neighbours in depth, of each of 16 columns
  __m512i values;
};
inline Floats add_pairs(Floats sums, Pairs16 x, Pairs16 y) {
  return (Floats)_mm512_dpbf16_ps((__m512)sums, (__m512bh)x.values, (__m512bh)y.values);
}

// `size` is a multiple of 32
void attend_in_pairs(const Head<bfloat16>& head, void* scratch) {
  const int64_t length = head.length, size = head.size, padded = round_up(length, kDepth);
  bfloat16* keys = (bfloat16*)scratch;
  bfloat16* values = keys + padded * size;
  float* scores = (float*)(values + padded * size);           // [kQueries, padded]
  float* results = scores + kQueries * padded;                // [kQueries, size]
  bfloat16* weights = (bfloat16*)(results + kQueries * size);  // [kQueries, padded]
  bfloat16* queries = weights + kQueries * padded;            // [kQueries, size], where they must lie together
  lay_out_keys(head, padded, keys);
  lay_out_values(head, padded, values);
  for (int64_t first = 0; first < head.queries; first += kQueries) {
    const int64_t rows = std::min<int64_t>(kQueries, head.queries - first);
    const bfloat16* query = head.query + first * head.query_stride;
    int64_t query_stride = head.query_stride;
    if (rows < kQueries || !HAS_AMX) {
      std::memset(queries, 0, 2 * kQueries * size);
      for (int64_t row = 0; row < rows; ++row)
        std::memcpy(queries + row * size, query + row * query_stride, 2 * size);
      query = queries;
      query_stride = size;
    }
    const Range range = seen(head, first, first + rows - 1, kDepth);
    const int64_t from = range.begin, width = range.end - from;
    multiply(query, query_stride, rows, size, keys + from * size, size, width, scores);
    add_distances<kQueries>(
        head, first, rows, from, width, scores,
        [&](int64_t row, int64_t pair) {
          int32_t both;
          std::memcpy(&both, query + std::min(row, rows - 1) * query_stride + 2 * pair, sizeof both);
          return Pairs16{_mm512_set1_epi32(both)};
        },
        [&](int64_t j, int64_t pair) {
          return Pairs16{_mm512_loadu_si512(keys + (from + j) * size + pair * 2 * kSide)};
        },
        [&](const bfloat16* table, int64_t pair, int64_t at) {
          return Pairs16{_mm512_loadu_si512(table + 2 * (pair * head.positions.distances + at))};
        });
    float sums[kQueries];
    for (int64_t row = 0; row < rows; ++row) {
      float* of = scores + row * width;
      sums[row] = exponentials(head, of, first + row, from, width);
      for (int64_t j = 0; j < width; j += kDepth)
        _mm512_storeu_si512(
            weights + row * width + j,
            (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(of + j + 16), _mm512_loadu_ps(of + j)));
    }
    multiply(weights, width, rows, width, values + from * kSide, padded, size, results);
    for (int64_t row = 0; row < rows; ++row) {
      const __m512 share = _mm512_set1_ps(1.0f / sums[row]);
      bfloat16* to = head.output + (first + row) * head.output_stride;
      for (int64_t d = 0; d < size; d += kDepth) {
        const float* from = results + row * size + d;
        _mm512_storeu_si512(
            to + d,
            (__m512i)_mm512_cvtne2ps_pbh(
                _mm512_mul_ps(_mm512_loadu_ps(from + 16), share),
                _mm512_mul_ps(_mm512_loadu_ps(from), share)));
      }
    }
  }
}

#endif

// ---- all heads of all texts

bool in_pairs(int64_t size, bfloat16) {
#if IN_PAIRS
  return size % kDepth == 0;
#else
  (void)size;
  return false;
#endif
}
bool in_pairs(int64_t, float) { return false; }

void attend_one(const Head<float>& head, bool, void* scratch) { attend_in_floats(head, scratch); }
void attend_one(const Head<bfloat16>& head, bool pairs, void* scratch) {
#if IN_PAIRS
  if (pairs) return attend_in_pairs(head, scratch);
#endif
  (void)pairs;
  attend_in_floats(head, scratch);
}

template <typename T>
void attend(
    T* query, T* key, const T* value, T* output, int64_t query_stride, int64_t key_stride,
    int64_t value_stride, const int64_t* starts, int64_t texts, int64_t heads, int64_t size,
    float scaling, const Positions& positions, bool firsts) {
  const bool pairs = in_pairs(size, T{});
  int64_t longest = 0;
  for (int64_t text = 0; text < texts; ++text)
    longest = std::max(longest, starts[text + 1] - starts[text]);
  int64_t bytes = scratch_of_floats(longest, size);
#if IN_PAIRS
  if (pairs) bytes = scratch_of_pairs(longest, size);
#endif
#if HAS_AMX
  const TileShapes shapes;
#endif
  Tasks tasks(texts * heads);
  in_threads([&] {
    const Scratch scratch(bytes);
#if HAS_AMX
    if (pairs) _tile_loadconfig(&shapes);
#endif
    tasks.run<4>([&](int64_t number) {
      const int64_t text = number / heads, column = number % heads * size;
      const int64_t first = starts[text], length = starts[text + 1] - first;
      const int64_t asking = firsts ? text : first;
      const Head<T> head{
          query + asking * query_stride + column, key + first * key_stride + column,
          value + first * value_stride + column, query_stride, key_stride, value_stride,
          output + asking * heads * size + column, heads * size, firsts ? 1 : length, length,
          size, scaling, positions, number % heads};
      if (positions.angles) {
        turn(head.query, query_stride, head.queries, size, positions.angles);
        turn(head.key, key_stride, length, size, positions.angles);
      }
      attend_one(head, pairs, scratch.bytes);
    });
#if HAS_AMX
    if (pairs) _tile_release();
#endif
  });
}

}  // namespace

#define ATTEND(name, type)                                                                            \
  extern "C" void name(                                                                               \
      void* query, void* key, const void* value, void* output, int64_t query_stride,                  \
      int64_t key_stride, int64_t value_stride, const int64_t* starts, int64_t texts, int64_t heads,   \
      int64_t size, float scaling, const Positions* positions, int64_t firsts) {                      \
    attend(                                                                                           \
        (type*)query, (type*)key, (const type*)value, (type*)output, query_stride, key_stride,        \
        value_stride, starts, texts, heads, size, scaling, *positions, firsts != 0);                  \
  }

ATTEND(attend_float32, float)
ATTEND(attend_bfloat16, bfloat16)
