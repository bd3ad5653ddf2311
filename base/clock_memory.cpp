// SPDX-License-Identifier: LGPL-2.1-or-later
#include "clock_memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <format>

#include "clock_scheduler.hpp"
#include "processes.hpp"

namespace stepscope {

using namespace clock;

namespace {

/** Longer than anybody holds the lock by far, unless it died with it. */
constexpr uint64_t kLockPatienceNs = 20'000'000;
constexpr uint32_t kLockRounds = 50;

bool is_gone(pid_t tid) {
    constexpr size_t kMaxStat = 512;
    return ProcessStat(read_proc_file(std::format("/proc/{0}/task/{0}/stat", tid), kMaxStat))
        .gone();
}

}  // namespace

void ClockMemory::Unmap::operator()(ClockPage* page) const {
    ::munmap(page, sizeof(ClockPage));
}

Result<ClockMemory> ClockMemory::create() {
    ClockMemory memory;
    memory.fd_ = UniqueFd(::memfd_create("stepscope-clock", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!memory.fd_ || ::ftruncate(memory.fd_.get(), sizeof(ClockPage)) != 0) {
        return fail_errno("can't create the clock page");
    }
    // The game can't shrink it under us.
    if (::fcntl(memory.fd_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        return fail_errno("can't seal the clock page's size");
    }
    void* mapped =
        ::mmap(nullptr, sizeof(ClockPage), PROT_READ | PROT_WRITE, MAP_SHARED, memory.fd_.get(), 0);
    if (mapped == MAP_FAILED) {
        return fail_errno("can't map the clock page");
    }
    // A new memfd is zero: every state is "free", "closed", "none".
    memory.page_.reset(static_cast<ClockPage*>(mapped));
    memory->version = kVersion;
    memory->size = sizeof(ClockPage);
    memory->magic = kMagic;
    return memory;
}

void ClockMemory::lock() {
    thread_local const auto tid = static_cast<uint32_t>(::gettid());
    uint32_t seen = 0;
    bool broken = false;
    uint32_t rounds = 0;
    while (!lock_page(*page_, tid, kLockPatienceNs, &seen)) {
        const auto owner = static_cast<pid_t>(seen & ~kLockContended);
        if (is_gone(owner) || ++rounds > kLockRounds) {
            // Killed while it held the lock, or stopped, or hostile. Nobody else breaks it.
            broken = page_->lock.compare_exchange_strong(seen, 0) || broken;
            futex_wake(page_->lock);
        }
    }
    if (broken) {
        recount_locked(*page_);
    }
}

void ClockMemory::unlock() {
    unlock_page(*page_);
}

}  // namespace stepscope
