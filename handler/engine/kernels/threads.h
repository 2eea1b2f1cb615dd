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

// body(number) for what is left of 0 … count − 1, `few` at a time; `next` is that of all threads, 0 at first
template <int few, typename Body>
void for_rest(int64_t& next, int64_t count, const Body& body) {
  for (;;) {
    const int64_t first = __atomic_fetch_add(&next, few, __ATOMIC_RELAXED);
    if (first >= count) return;
    for (int64_t number = first; number < count && number < first + few; ++number) body(number);
  }
}

}  // namespace
