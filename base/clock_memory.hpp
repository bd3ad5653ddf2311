// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <memory>

#include "clock_page.hpp"
#include "error.hpp"
#include "unique_fd.hpp"

namespace stepscope {

/**
 * The memory of a clock's page, on the controller's side: made, mapped, and locked against the
 * processes that share it, of which any may die or misbehave with the lock in its hands.
 *
 * lock() and unlock() are what std::lock_guard wants. Moving it leaves the page where it is.
 */
class ClockMemory {
public:
    /** A page of size that nobody can change, all zero but for what says that it is one. */
    static Result<ClockMemory> create();

    /** Of the memory, for the processes that share it. Borrowed. */
    int fd() const { return fd_.get(); }
    clock::ClockPage& operator*() const { return *page_; }
    clock::ClockPage* operator->() const { return page_.get(); }

    /** Takes the lock from who died with it, or holds it for a second, and counts anew. */
    void lock();
    void unlock();

private:
    struct Unmap {
        void operator()(clock::ClockPage* page) const;
    };

    UniqueFd fd_;
    std::unique_ptr<clock::ClockPage, Unmap> page_;
};

}  // namespace stepscope
