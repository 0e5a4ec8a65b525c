#include "team.h"

#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <new>
#include <thread>

namespace rnnjax {
namespace {

constexpr size_t kCacheLine = 64;
constexpr uintptr_t kPage = 4096;
constexpr size_t kCacheLimit = size_t{256} << 20;  // bytes of scratch memory kept between calls

// The units of a call, claimed one by one. A helper that the pool starts after the call has ended
// finds nothing to claim, and must not touch anything but this (which it shares ownership of).
struct Job {
  Job(int64_t phases, int64_t units, void (*body)(void*, int64_t, int64_t), void* data)
      : units(units), total(phases * units), body(body), data(data), claimed(units) {
    for (Claim& c : claimed) c.next.store(0, std::memory_order_relaxed);
  }

  // `first` is the unit that this thread tries first in every phase, as its data is in this core's
  // cache. The leader is the calling thread, and tries unit 0.
  void work(int64_t first) {
    started.fetch_add(1, std::memory_order_relaxed);
    const bool leader = first == 0;
    bool helpers_started = !leader;
    for (int idle = 0;;) {
      const int64_t ended = done.load(std::memory_order_acquire), phase = ended / units;
      if (ended == total) return;
      if (claim_one(first, phase)) {
        idle = 0;
        if (!helpers_started) let_helpers_start();
        helpers_started = true;
      } else if (!leader && (phase + 1) * units == total) {
        return;  // every unit of the last phase is claimed
      } else if (++idle > 4096) {
        std::this_thread::yield();
      } else {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
      }
    }
  }

  // Linux may queue a woken helper on the leader's core, where it waits for the leader to finish
  // while other cores idle until the next scheduler tick. A short sleep of the leader lets it start
  // now, and `leave_leader_core` moves it to another core.
  void let_helpers_start() {
    if (started.load(std::memory_order_relaxed) < units)
      std::this_thread::sleep_for(std::chrono::microseconds(1));
  }

  void leave_leader_core() {
#ifdef __linux__
    cpu_set_t allowed, others;
    if (sched_getcpu() != leader_core || sched_getaffinity(0, sizeof allowed, &allowed)) return;
    others = allowed;
    CPU_CLR(leader_core, &others);
    if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof others, &others)) return;
    sched_setaffinity(0, sizeof allowed, &allowed);
#endif
  }

  bool claim_one(int64_t first, int64_t phase) {
    for (int64_t i = 0; i < units; ++i) {
      const int64_t unit = (first + i) % units;
      int64_t expected = phase;
      std::atomic<int64_t>& next = claimed[unit].next;
      if (next.load(std::memory_order_relaxed) != phase ||
          !next.compare_exchange_strong(expected, phase + 1, std::memory_order_acq_rel))
        continue;
      body(data, phase, unit);
      done.fetch_add(1, std::memory_order_acq_rel);
      return true;
    }
    return false;
  }

  struct alignas(kCacheLine) Claim {
    std::atomic<int64_t> next;  // the first phase in which this unit is unclaimed
  };
  const int64_t units, total;
  void (*const body)(void*, int64_t, int64_t);
  void* const data;
#ifdef __linux__
  const int leader_core = sched_getcpu();
#endif
  std::vector<Claim> claimed;
  alignas(kCacheLine) std::atomic<int64_t> done{0};
  alignas(kCacheLine) std::atomic<int64_t> started{0};
};

std::mutex cache_mutex;

// Free blocks of scratch memory, oldest first: their pages need not be faulted in again.
std::vector<Block>& cached_blocks() {
  static auto* blocks = new std::vector<Block>;
  return *blocks;
}

}  // namespace

void use_huge_pages(void* memory, size_t bytes) {
#ifdef MADV_HUGEPAGE
  const uintptr_t begin = reinterpret_cast<uintptr_t>(memory), end = begin + bytes;
  const uintptr_t first = (begin + kHugePage - 1) / kHugePage * kHugePage;
  const uintptr_t last = end / kHugePage * kHugePage;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

Team::Team(xla::ffi::ThreadPool pool)
    : pool_(pool), threads_(std::max<int64_t>(1, pool.num_threads())) {}

Team::~Team() {
  std::lock_guard<std::mutex> lock(cache_mutex);
  auto& blocks = cached_blocks();
  for (const Block& block : blocks_) {
    try {
      blocks.push_back(block);
    } catch (const std::bad_alloc&) {
      std::free(block.memory);
    }
  }
  size_t total = 0;
  for (const Block& block : blocks) total += block.bytes;
  auto first = blocks.begin();  // evict the oldest
  for (; total > kCacheLimit; ++first) {
    total -= first->bytes;
    std::free(first->memory);
  }
  blocks.erase(blocks.begin(), first);
}

void Team::run(int64_t phases, int64_t units, void (*body)(void*, int64_t, int64_t), void* data) {
  if (units == 1) {
    for (int64_t phase = 0; phase < phases; ++phase) body(data, phase, 0);
    return;
  }
  auto job = std::make_shared<Job>(phases, units, body, data);
  try {
    for (int64_t helper = 1; helper < std::min(units, threads_); ++helper)
      pool_.Schedule([job, helper] {
        job->leave_leader_core();
        job->work(helper);
      });
  } catch (const std::bad_alloc&) {
    // Helpers already scheduled cannot be recalled; with them or alone, this thread does the work.
  }
  job->work(0);
}

void* Team::allocate(size_t bytes) {
  bytes = std::max(kCacheLine, (bytes + kCacheLine - 1) / kCacheLine * kCacheLine);
  if (bytes >= kHugePage) bytes = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  blocks_.reserve(blocks_.size() + 1);
  {
    std::lock_guard<std::mutex> lock(cache_mutex);
    auto best = cached_blocks().end();
    for (auto it = cached_blocks().begin(); it != cached_blocks().end(); ++it)
      if (it->bytes >= bytes && it->bytes <= 2 * bytes &&
          (best == cached_blocks().end() || it->bytes < best->bytes))
        best = it;
    if (best != cached_blocks().end()) {
      blocks_.push_back(*best);
      cached_blocks().erase(best);
      return blocks_.back().memory;
    }
  }
  void* memory = std::aligned_alloc(bytes >= kHugePage ? kHugePage : kCacheLine, bytes);
  if (!memory) throw std::bad_alloc();
  if (bytes >= kHugePage) use_huge_pages(memory, bytes);
  blocks_.push_back({bytes, memory});
  return memory;
}

void Team::clear_pages(void* memory, size_t bytes) {
#ifdef MADV_POPULATE_WRITE  // systems that do not know it refuse
  const uintptr_t begin = reinterpret_cast<uintptr_t>(memory) / kPage * kPage;
  madvise(reinterpret_cast<void*>(begin), reinterpret_cast<uintptr_t>(memory) + bytes - begin,
          MADV_POPULATE_WRITE);
#endif
}

}  // namespace rnnjax
