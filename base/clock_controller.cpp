// SPDX-License-Identifier: LGPL-2.1-or-later
#include "clock_controller.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <format>
#include <mutex>
#include <utility>

#include "clock_scheduler.hpp"

namespace stepscope {

using namespace clock;

namespace {

constexpr uint64_t kNotifyToken = UINT64_MAX;
constexpr uint64_t kRetryToken = UINT64_MAX - 1;

}  // namespace

const char* to_string(ClockController::StepStatus status) {
    switch (status) {
        case ClockController::StepStatus::presented:
            return "presented";
        case ClockController::StepStatus::no_commit:
            return "no_commit";
        case ClockController::StepStatus::exited:
            return "exited";
        case ClockController::StepStatus::crashed:
            return "crashed";
        case ClockController::StepStatus::cancelled:
            return "cancelled";
    }
    return "unknown";
}

ClockController::~ClockController() = default;

Result<ClockController> ClockController::create(const Options& options) {
    ClockController controller;
    auto memory = ClockMemory::create();
    if (!memory) {
        return std::unexpected(memory.error());
    }
    controller.page_ = std::move(*memory);
    ClockPage& page = *controller.page_;
    page.monotonic_base_ns = options.monotonic_base_ns;
    page.realtime_base_ns = options.realtime_base_ns;
    page.spin_reads = options.spin_reads;
    page.spin_advance_ns = options.spin_advance_ns;
    page.seeded = options.seed.has_value();
    page.seed = options.seed.value_or(0);

    int ends[2] = {-1, -1};
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        return fail_errno("can't create the clock's notification pipe");
    }
    controller.notify_read_.reset(ends[0]);
    controller.notify_write_.reset(ends[1]);
    controller.retry_timer_.reset(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    controller.epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
    if (!controller.retry_timer_ || !controller.epoll_) {
        return fail_errno("can't create the clock controller's event sources");
    }
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = kNotifyToken;
    int added = ::epoll_ctl(controller.epoll_.get(), EPOLL_CTL_ADD, ends[0], &event);
    event.data.u64 = kRetryToken;
    added |=
        ::epoll_ctl(controller.epoll_.get(), EPOLL_CTL_ADD, controller.retry_timer_.get(), &event);
    if (added != 0) {
        return fail_errno("can't watch the clock controller's event sources");
    }
    return controller;
}

std::vector<std::string> ClockController::environment(const std::string& library_path) const {
    const char* preload = std::getenv("LD_PRELOAD");
    const std::string others = preload && *preload ? std::string(":") + preload : std::string();
    return {
        "LD_PRELOAD=" + library_path + others,
        std::format("{}={}", kEnvPageFd, page_.fd()),
        std::format("{}={}", kEnvNotifyFd, notify_write_.get()),
        std::format("{}=/proc/{}/fd/{}", kEnvPagePath, ::getpid(), page_.fd()),
        std::format("{}=/proc/{}/fd/{}", kEnvNotifyPath, ::getpid(), notify_write_.get()),
    };
}

/** With the lock held for what it reads; wakes are sent at once. */
void ClockController::perform(const Action& action) {
    if (action.wake == kNone) {
        return;
    }
    ThreadSlot& slot = page_->threads[action.wake];
    if (!action.external) {
        futex_wake(slot.wake);
        return;
    }
    const uint32_t process = slot.process;
    const uint32_t timers =
        process < kMaxProcesses ? page_->processes[process].timers_thread : kNone;
    if (timers < kMaxThreads) {
        slot.deliver = 1;
        page_->threads[timers].wake.fetch_or(kWakeDeliver, std::memory_order_release);
        futex_wake(page_->threads[timers].wake);
    }
}

Result<void> ClockController::expect_process() {
    page_.lock();
    const uint32_t index = expect_process_locked(*page_, 0, 0, page_->seed);
    page_.unlock();
    if (index == kNone) {
        return fail(Fault::busy, std::format("the clock has room for {} processes of the game, "
                                             "and they are all taken",
                                             kMaxProcesses));
    }
    had_process_ = true;
    end_status_ = StepStatus::exited;
    end_message_.clear();
    return {};
}

void ClockController::process_started(pid_t pid) {
    first_pid_ = pid;
    bool known = false;
    page_.lock();
    for (ProcessSlot& process : page_->processes) {
        known = known || (process.state != ProcessState::free && process.pid == pid);
        if (process.state == ProcessState::expected && process.pid == 0 &&
            process.parent_pid == 0) {
            process.pid = pid;
            known = true;
            break;
        }
    }
    page_.unlock();
    // It may have come and gone already.
    first_ended_ = !known;
    watch_processes();
}

Result<uint64_t> ClockController::begin_step(uint64_t delta_ns) {
    return begin(delta_ns, Frees::held);
}

Result<uint64_t> ClockController::begin_interlude(uint64_t delta_ns) {
    return begin(delta_ns, Frees::nobody);
}

Result<uint64_t> ClockController::let_leave() {
    return begin(0, Frees::leaving);
}

bool ClockController::anybody_leaves() {
    page_.lock();
    bool leaves = false;
    for (uint32_t i = 0; i < slots_in_use(*page_); ++i) {
        const ThreadSlot& slot = page_->threads[i];
        leaves = leaves ||
                 (slot.state.load() == ThreadState::waiting && slot.kind.load() == WaitKind::leave);
    }
    page_.unlock();
    return leaves;
}

void ClockController::set_windows(uint32_t count) {
    page_->windows.store(count, std::memory_order_relaxed);
}

Result<uint64_t> ClockController::begin(uint64_t delta_ns, Frees frees) {
    if (open_ || settling_) {
        return fail(Fault::busy, "a step is open already; wait for its end or cancel it");
    }
    open_ = true;
    retries_ = 0;
    page_.lock();
    presents_before_ = page_->presents;
    switch (frees) {
        case Frees::held:
            open_step_locked(*page_, delta_ns);
            break;
        case Frees::leaving:
            let_leave_locked(*page_);
            break;
        case Frees::nobody:
            move_limit_locked(*page_, delta_ns);
            break;
    }
    const uint64_t seq = page_->step_seq;
    const Action action = settle_locked(*page_);
    perform(action);
    page_.unlock();
    if (had_process_ && process_count() == 0) {
        // Nobody is left to tell us: dispatch() has to look.
        set_event(*page_, kEventProcesses);
        (void)!::write(notify_write_.get(), "!", 1);
    } else if (action.notify) {
        (void)!::write(notify_write_.get(), "!", 1);
    }
    return seq;
}

void ClockController::cancel_step() {
    if (!open_) {
        return;
    }
    page_.lock();
    page_->limit_ns = page_->now_ns.load();
    page_->step.store(StepState::closed);
    page_.unlock();
    finish(StepStatus::cancelled, "the step was cancelled");
}

void ClockController::begin_settling() {
    settling_ = true;
    retries_ = 0;
    page_.lock();
    page_->step.store(StepState::settling);
    page_->asked = 0;
    const Action action = settle_locked(*page_);
    page_.unlock();
    if (action.notify) {
        (void)!::write(notify_write_.get(), "!", 1);
    }
}

void ClockController::cancel_settling() {
    if (!std::exchange(settling_, false)) {
        return;
    }
    page_.lock();
    page_->step.store(StepState::closed);
    page_->events.fetch_and(~kEventConfirm);
    page_.unlock();
    arm_retry(0);
}

void ClockController::finish(StepStatus status, std::string message) {
    if (!open_) {
        return;
    }
    open_ = false;
    page_.lock();
    page_->step.store(StepState::closed);
    page_->events.fetch_and(~(kEventStepDone | kEventConfirm));
    StepResult result{page_->step_seq, status, page_->now_ns.load(),
                      page_->presents - presents_before_, std::move(message)};
    page_.unlock();
    arm_retry(0);
    if (callbacks_.on_step_done) {
        callbacks_.on_step_done(result);
    }
}

void ClockController::watch_processes() {
    for (const ClockProcesses::End& end : processes_.watch(page_, epoll_.get())) {
        handle_process_end(end);
    }
}

void ClockController::handle_process_end(const ClockProcesses::End& end) {
    sleepers_.forget(end.pid);
    page_.lock();
    Action action;
    const ProcessSlot& process = page_->processes[end.index];
    if (process.state != ProcessState::free && process.pid == end.pid) {
        free_process_locked(*page_, end.index);
        page_->asked = 0;
        // Its death may have been noticed before whoever waits for it was woken.
        page_->verify = 1;
        action = settle_locked(*page_);
        perform(action);
    }
    page_.unlock();
    if (action.notify) {
        (void)!::write(notify_write_.get(), "!", 1);
    }
    first_ended_ = first_ended_ || end.pid == first_pid_;
    // The first process that the controller started speaks for the game; it may be our child.
    if (end.child || end_message_.empty()) {
        end_status_ = end.crashed ? StepStatus::crashed : StepStatus::exited;
        end_message_ = end.message;
    }
}

void ClockController::dispatch() {
    std::array<epoll_event, 16> events{};
    const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), 0);
    bool retry = false;
    for (int i = 0; i < count; ++i) {
        const uint64_t token = events[static_cast<size_t>(i)].data.u64;
        if (token == kNotifyToken) {
            std::array<char, 64> bytes{};
            while (::read(notify_read_.get(), bytes.data(), bytes.size()) ==
                   static_cast<ssize_t>(bytes.size())) {
            }
        } else if (token == kRetryToken) {
            uint64_t expirations = 0;
            (void)!::read(retry_timer_.get(), &expirations, sizeof expirations);
            retry = true;
            retry_armed_ = false;
        } else if (const auto end = processes_.handle_readable(token)) {
            handle_process_end(*end);
        }
    }
    const uint32_t what = page_->events.exchange(0, std::memory_order_acq_rel);
    if (what & kEventProcesses) {
        watch_processes();
    }
    if (open_ && had_process_ && process_count() == 0) {
        // The step covers its time all the same: when in it a process was seen to be gone is for
        // chance to say.
        page_.lock();
        page_->now_ns.store(page_->limit_ns);
        page_.unlock();
        finish(end_status_, end_message_);
        return;
    }
    if ((what & kEventStepDone) && open_) {
        page_.lock();
        // One that was cancelled may have left its event behind.
        const bool done = page_->step.load() == StepState::closed;
        const bool presented = page_->presents != presents_before_;
        page_.unlock();
        if (done) {
            finish(presented ? StepStatus::presented : StepStatus::no_commit, {});
            return;
        }
    }
    if ((open_ || settling_) && ((what & kEventConfirm) || retry)) {
        confirm();
    }
}

void ClockController::recheck() {
    if (open_ || settling_) {
        retries_ = 0;
        confirm();
    }
}

bool ClockController::wait_until_asleep(ClockSleepers::Look look) {
    const bool asleep = sleepers_.soon_asleep(*page_, look);
    if (!asleep) {
        // It runs, or waits for a processor. Look again, less and less often up to 1 ms.
        arm_retry(std::min<uint64_t>(1'000'000, 20'000u << std::min(retries_++, 6u)));
    }
    return asleep;
}

void ClockController::confirm() {
    page_.lock();
    const bool quiet = page_->runnable == 0 && page_->step.load() != StepState::closed;
    const uint64_t quiescence = page_->wakeups;
    page_.unlock();
    if (!quiet) {
        return;  // whoever became running asks again when it waits
    }
    // Who has run since has made itself count: that changes `wakeups`, which is compared below. Who
    // was woken and has not run yet is found by the look that follows the question.
    if (careful_ && !wait_until_asleep(ClockSleepers::Look::quick)) {
        return;
    }
    if (callbacks_.on_quiescent && !callbacks_.on_quiescent()) {
        return;
    }
    if (!wait_until_asleep(ClockSleepers::Look::sure)) {
        return;
    }
    retries_ = 0;
    page_.lock();
    if (settling_) {
        const bool settled = page_->runnable == 0 && page_->wakeups == quiescence;
        page_.unlock();
        if (settled) {
            cancel_settling();
            callbacks_.on_settled();
        }
        return;  // whoever became running asks again when it waits
    }
    Action action;
    if (page_->runnable == 0 && page_->wakeups == quiescence &&
        page_->step.load() == StepState::open) {
        page_->verify = 0;
        page_->asked = 0;
        action = jump_locked(*page_);
        perform(action);
    }
    const bool done = page_->step.load() == StepState::closed;
    const bool presented = page_->presents != presents_before_;
    page_.unlock();
    if (done && open_) {
        finish(presented ? StepStatus::presented : StepStatus::no_commit, {});
    }
}

void ClockController::arm_retry(uint64_t delay_ns) {
    if (!std::exchange(retry_armed_, delay_ns != 0) && delay_ns == 0) {
        return;
    }
    const itimerspec value{{0, 0}, {0, static_cast<long>(delay_ns)}};
    ::timerfd_settime(retry_timer_.get(), 0, &value, nullptr);
}

bool ClockController::running() const {
    // A hint: whoever makes it 0 tells us by the notification pipe.
    return (open_ || settling_) && __atomic_load_n(&page_->runnable, __ATOMIC_RELAXED) != 0;
}

bool ClockController::asleep() {
    page_.lock();
    const bool idle = page_->runnable == 0;
    const uint64_t quiescence = page_->wakeups;
    page_.unlock();
    if (!idle || !sleepers_.all_asleep(*page_, ClockSleepers::Look::quick)) {
        return false;
    }
    const std::lock_guard locked(page_);
    return page_->runnable == 0 && page_->wakeups == quiescence;
}

uint64_t ClockController::quiescence() {
    const std::lock_guard locked(page_);
    return page_->wakeups;
}

uint64_t ClockController::now_ns() const {
    return page_->now_ns.load();
}

uint32_t ClockController::present_apis() const {
    return page_->present_apis.load(std::memory_order_relaxed);
}

int64_t ClockController::monotonic_ns() const {
    return page_->monotonic_base_ns + static_cast<int64_t>(now_ns());
}

size_t ClockController::process_count() const {
    size_t count = 0;
    for (const ProcessSlot& process : page_->processes) {
        count += process.state != ProcessState::free;
    }
    return count;
}

size_t ClockController::game_process_count() const {
    size_t count = 0;
    for (const ProcessSlot& process : page_->processes) {
        count += process.state != ProcessState::free && process.display_server == 0;
    }
    return count;
}

std::vector<ClockController::ThreadInfo> ClockController::threads() const {
    std::vector<ThreadInfo> result;
    for (uint32_t i = 0; i < slots_in_use(*page_); ++i) {
        const ThreadSlot& slot = page_->threads[i];
        if (slot.state.load() == ThreadState::free || slot.process >= kMaxProcesses) {
            continue;
        }
        result.push_back({page_->processes[slot.process].pid, slot.tid, slot.state.load(),
                          slot.kind.load(), slot.deadline_ns.load()});
    }
    return result;
}

std::string ClockController::describe() const {
    std::string text;
    for (const ThreadInfo& thread : threads()) {
        text += std::format("thread {} of process {} ", thread.tid, thread.pid);
        if (thread.tid == 0) {
            text += "is expected; the clock library has not started in it\n";
        } else if (thread.state == ThreadState::running) {
            text += "runs\n";
        } else if (thread.deadline_ns == kNever) {
            text += std::format("waits for {}\n", wait_kind_name(thread.kind));
        } else {
            text += std::format("waits for {}, at most until {} ns (now {} ns)\n",
                                wait_kind_name(thread.kind), thread.deadline_ns, now_ns());
        }
    }
    return text;
}

}  // namespace stepscope
