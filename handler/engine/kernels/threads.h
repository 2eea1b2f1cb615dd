// Work shared among the threads of OpenMP, in calls that any compiler makes.
//
// torch brings a library of OpenMP, most often libgomp, and its threads are the ones to use. What compilers
// make of `#pragma omp` differs: clang's calls are not in libgomp. These three functions are in GCC's library
// and in LLVM's. They are declared here and left open: at load they are found in the library that torch brought.

#pragma once

#include <cstdint>

extern "C" {
void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned flags);
int omp_get_num_threads();
int omp_get_thread_num();
}

namespace {

// body() in every thread
template <typename Body>
void in_threads(const Body& body) {
  GOMP_parallel([](void* data) { (*(const Body*)data)(); }, (void*)&body, 0, 0);
}

// body(number) for this thread's share of 0 … count − 1, which lie side by side
template <typename Body>
void for_share(int64_t count, const Body& body) {
  const int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
  const int64_t end = count * (thread + 1) / threads;
  for (int64_t number = count * thread / threads; number < end; ++number) body(number);
}

// body(number) for 0 … count − 1, shared among all threads
template <typename Body>
void in_shares(int64_t count, const Body& body) {
  in_threads([&] { for_share(count, body); });
}

// Numbers 0 … count − 1 for all threads: each begins with a share of its own, whose rows are still in its cache,
// and helps others once that is done.
class Tasks {
 public:
  explicit Tasks(int64_t count) : count_(count) {}

  // body(number) for what is left, `few` at a time; to be called by every thread
  template <int few, typename Body>
  void run(const Body& body) {
    const int64_t threads = omp_get_num_threads(), shares = threads < kMost ? threads : kMost;
    for (int64_t i = 0; i < shares; ++i) {
      const int64_t share = (omp_get_thread_num() + i) % shares;
      const int64_t begin = count_ * share / shares, end = count_ * (share + 1) / shares;
      for (;;) {
        const int64_t first = begin + __atomic_fetch_add(&taken_[share].count, few, __ATOMIC_RELAXED);
        if (first >= end) break;
        for (int64_t number = first; number < end && number < first + few; ++number) body(number);
      }
    }
  }

 private:
  static constexpr int64_t kMost = 64;
  struct alignas(64) Taken {
    int64_t count = 0;
  };
  const int64_t count_;
  Taken taken_[kMost];
};

}  // namespace
