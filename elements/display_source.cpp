// SPDX-License-Identifier: LGPL-2.1-or-later
#include "display_source.hpp"

#include <drm_fourcc.h>

#include <algorithm>
#include <format>

namespace stepscope {
namespace {

using Clock = PictureSource::Clock;

/** How long a compositor may take to answer the first requests. */
constexpr std::chrono::seconds kConnectTimeout{5};
/** After a failed copy: until the next attempt, and how many there are. Together some seconds,
 * which a change of mode may take. */
constexpr std::chrono::milliseconds kRetryDelay{100};
constexpr unsigned kMaxFailures = 50;
/** Presentation times that are further from now are not believed. */
constexpr uint64_t kCredibleAgeNs = 1'000'000'000;

uint64_t monotonic_now_ns() {
    return static_cast<uint64_t>(std::chrono::nanoseconds(Clock::now().time_since_epoch()).count());
}

uint64_t credible_time(uint64_t time_ns) {
    const uint64_t now = monotonic_now_ns();
    const uint64_t distance = time_ns > now ? time_ns - now : now - time_ns;
    return distance > kCredibleAgeNs ? now : time_ns;
}

}  // namespace

Result<std::shared_ptr<DisplaySource>> DisplaySource::connect(const Settings& settings,
                                                              CaptureStats& stats) {
    auto display = DisplayConnection::connect(settings.display, kConnectTimeout);
    if (!display) {
        return std::unexpected(display.error());
    }
    auto output = (*display)->find_output(settings.output);
    if (!output) {
        return std::unexpected(output.error());
    }
    std::shared_ptr<DisplaySource> source(
        new DisplaySource(std::move(*display), **output, settings, stats));
    source->begin_capture();
    const auto deadline = Clock::now() + kConnectTimeout;
    while (source->formats().empty() && !source->end()) {
        if (Clock::now() >= deadline) {
            return fail(Fault::gone, std::format("{} named no format within {} s; is it switched "
                                                 "off?",
                                                 source->name(), kConnectTimeout.count()));
        }
        if (auto waited = source->wait(deadline); !waited) {
            return std::unexpected(waited.error());
        }
    }
    return source;
}

DisplaySource::DisplaySource(std::unique_ptr<DisplayConnection> display,
                             const DisplayOutput& output, const Settings& settings,
                             CaptureStats& stats)
    : display_(std::move(display)),
      output_(output),
      output_name_(output.name),
      refresh_(output.refresh),
      region_(settings.region),
      stats_(stats),
      cursor_(settings.cursor),
      returns_(std::make_shared<Returns>()),
      buffers_(*display_),
      slot_limit_(settings.max_buffers) {
    returns_->source = this;
}

DisplaySource::~DisplaySource() {
    {
        std::lock_guard lock(returns_->mutex);
        returns_->source = nullptr;
    }
    frames_.clear();
    drop_slots();
}

void DisplaySource::begin_capture() {
    shown_cursor_ = cursor_;
    capture_ =
        make_output_capture(*display_, output_, shown_cursor_ == CursorMode::embedded, *this);
    display_->connection().flush();
}

std::string DisplaySource::name() const {
    return std::format("output '{}' of {}", output_name_, display_->connection().peer());
}

std::pair<uint32_t, uint32_t> DisplaySource::size() const {
    std::lock_guard lock(mutex_);
    return region_ ? std::pair(region_->width, region_->height) : size_;
}

std::optional<SessionEnd> DisplaySource::end() const {
    if (!stopped_) {
        return std::nullopt;
    }
    return SessionEnd{SessionEnd::How::output_gone, 0};
}

void DisplaySource::set_cursor(CursorMode mode) {
    cursor_ = mode;
    wake();
}

Result<void> DisplaySource::resize(uint32_t width, uint32_t height) {
    const auto [own_width, own_height] = size();
    return fail(Fault::unsupported,
                std::format("downstream wants pictures of {}x{}, but those of {} have {}x{}; "
                            "insert videoscale, or use region=",
                            width, height, name(), own_width, own_height));
}

Result<void> DisplaySource::inject(InputActions, uint32_t, uint32_t) {
    return fail(Fault::unsupported,
                std::format("{} is captured only; input goes to Stepscope sessions", name()));
}

// --- formats -------------------------------------------------------------------------------------

std::vector<PictureFormat> DisplaySource::formats() const {
    std::lock_guard lock(mutex_);
    std::vector<PictureFormat> formats;
    formats.reserve(choices_.size());
    for (const Choice& choice : choices_) {
        formats.push_back(choice.format);
    }
    return formats;
}

std::vector<DisplaySource::Choice> DisplaySource::choices_for(
    const CaptureConstraints& constraints) const {
    std::vector<Choice> choices;
    auto add = [&](uint32_t fourcc, uint64_t modifier, MemoryKind memory, bool by_shm) {
        const uint32_t opaque = opaque_fourcc(fourcc);
        // Rows of other layouts can't be cut.
        if (opaque == 0 || (region_ && modifier != DRM_FORMAT_MOD_LINEAR)) {
            return;
        }
        const PictureFormat format{region_ ? region_->width : constraints.width,
                                   region_ ? region_->height : constraints.height, opaque, modifier,
                                   memory};
        // With and without alpha is the same to us.
        if (!std::ranges::contains(choices, format, &Choice::format)) {
            choices.push_back({format,
                               {.width = constraints.width,
                                .height = constraints.height,
                                .fourcc = fourcc,
                                .modifier = modifier,
                                .memory = by_shm ? MemoryKind::memfd : memory,
                                .stride = constraints.shm_stride,
                                .as_dmabuf = by_shm}});
        }
    };
    for (const auto& [fourcc, modifier] : constraints.dmabuf_formats) {
        if (buffers_.may_have(fourcc, modifier)) {
            add(fourcc, modifier, MemoryKind::dmabuf, false);
        }
    }
    for (uint32_t fourcc : constraints.shm_formats) {
        add(fourcc, DRM_FORMAT_MOD_LINEAR, MemoryKind::memfd, false);
        if (buffers_.may_wrap()) {
            add(fourcc, DRM_FORMAT_MOD_LINEAR, MemoryKind::dmabuf, true);
        }
    }
    return choices;
}

Result<void> DisplaySource::take_constraints(const CaptureConstraints& constraints) {
    const PictureArea whole{0, 0, constraints.width, constraints.height};
    if (region_ && intersect(*region_, whole) != region_) {
        return fail(Fault::usage,
                    std::format("region=\"{},{},{},{}\" is not within {}, which has {}x{} pixels",
                                region_->x, region_->y, region_->width, region_->height, name(),
                                constraints.width, constraints.height));
    }
    buffers_.set_device(constraints.device);
    dmabuf_formats_ = constraints.dmabuf_formats;
    std::vector<Choice> choices = choices_for(constraints);
    if (choices.empty()) {
        return fail(
            Fault::unsupported,
            std::format("{} offers {} formats for shared memory and {} for DMA-BUF, none "
                        "of which GStreamer can be given",
                        name(), constraints.shm_formats.size(), constraints.dmabuf_formats.size()));
    }
    {
        std::lock_guard lock(mutex_);
        choices_ = choices;
        size_ = {constraints.width, constraints.height};
    }
    if (!chosen_) {
        return {};
    }
    // The same in the new size, until the consumer says otherwise.
    const PictureFormat before = chosen_->format;
    auto same = std::ranges::find_if(choices, [&](const Choice& choice) {
        return choice.format.fourcc == before.fourcc && choice.format.modifier == before.modifier &&
               choice.format.memory == before.memory;
    });
    return use(same != choices.end() ? *same : choices.front());
}

Result<void> DisplaySource::choose(const PictureFormat& format) {
    if (chosen_ && chosen_->format == format) {
        return {};
    }
    std::optional<Choice> choice;
    {
        std::lock_guard lock(mutex_);
        auto found = std::ranges::find(choices_, format, &Choice::format);
        if (found != choices_.end()) {
            choice = *found;
        }
    }
    if (!choice) {
        return fail(Fault::unsupported, std::format("{} offers that format no more", name()));
    }
    auto used = use(*choice);
    if (!used) {
        std::lock_guard lock(mutex_);
        std::erase_if(choices_, [&](const Choice& other) { return other.format == format; });
    }
    return used;
}

/** Makes a first buffer, so that it is known to be possible. */
Result<void> DisplaySource::use(const Choice& choice) {
    drop_slots();
    downstream_.reset();
    chosen_.reset();
    auto slot = make_slot(choice);
    if (!slot) {
        return std::unexpected(slot.error());
    }
    chosen_ = choice;
    std::lock_guard lock(mutex_);
    device_ = choice.request.memory == MemoryKind::dmabuf ? buffers_.node() : "";
    return {};
}

std::string DisplaySource::device() const {
    std::lock_guard lock(mutex_);
    return device_;
}

// --- frames --------------------------------------------------------------------------------------

Result<void> DisplaySource::wait(std::optional<Clock::time_point> deadline) {
    if (auto pumped = pump(); !pumped) {
        return pumped;
    }
    for (const auto& own : {retry_at_, look_again_at_}) {
        if (own && (!deadline || *own < *deadline)) {
            deadline = own;
        }
    }
    if (auto waited = display_->connection().wait(deadline); !waited) {
        return waited;
    }
    return pump();
}

/** Does what events made possible or necessary; not in their handlers, as it may wait. */
Result<void> DisplaySource::pump() {
    if (output_.gone) {
        stopped_ = true;
    }
    if (stopped_) {
        return {};
    }
    if (cursor_ != shown_cursor_) {
        if (auto slot = copying_ ? slots_.find(*copying_) : slots_.end(); slot != slots_.end()) {
            slot->second.free = true;
        }
        copying_.reset();
        capture_.reset();
        begin_capture();
    }
    if (const auto constraints = std::exchange(new_constraints_, std::nullopt)) {
        if (auto taken = take_constraints(*constraints); !taken) {
            return taken;
        }
    }
    if (retry_at_ && Clock::now() >= *retry_at_) {
        retry_at_.reset();
        capture_->retry();
    }
    if (!started_ || !chosen_ || retry_at_ || !capture_->idle()) {
        display_->connection().flush();
        return {};
    }
    const Choice chosen = *chosen_;
    auto slot = find_slot(chosen);
    if (slot && !*slot && frames_.size() > 1) {
        // Nobody waits for the older ones: a tick will take the newest.
        frames_.drop_oldest();
        slot = find_slot(chosen);
    }
    if (!slot) {
        return std::unexpected(slot.error());
    }
    // Without a free slot downstream is too slow; the compositor's next picture will be current.
    copying_ = *slot;
    if (copying_) {
        Slot& target = slots_.at(*copying_);
        target.free = false;
        capture_->copy_into(target.buffer.get(), chosen.request.width, chosen.request.height);
    }
    display_->connection().flush();
    return {};
}

void DisplaySource::handle_constraints(const CaptureConstraints& constraints) {
    new_constraints_ = constraints;
}

void DisplaySource::handle_failed() {
    if (copying_) {
        if (auto slot = slots_.find(*copying_); slot != slots_.end()) {
            slot->second.free = true;
        }
        copying_.reset();
    }
    if (++failures_ >= kMaxFailures) {
        display_->connection().fail_with(
            {Fault::gone,
             std::format("the compositor failed to copy {} for {} times in a row", name(),
                         failures_),
             0});
        return;
    }
    retry_at_ = Clock::now() + kRetryDelay;
}

/** Damage within the area, in its coordinates; nothing if none of it is. Empty means: anything. */
std::optional<Damage> DisplaySource::damage_within(const CopiedPicture& picture,
                                                   const PictureArea& area) const {
    if (picture.damage.empty()) {
        return picture.damage;
    }
    Damage damage;
    for (const PictureArea& damaged : picture.damage) {
        add_damage(damage, damaged, area);
    }
    for (PictureArea& damaged : damage) {
        damaged.x -= area.x;
        damaged.y -= area.y;
    }
    if (damage.empty()) {
        return std::nullopt;
    }
    return damage;
}

void DisplaySource::handle_copied(CopiedPicture picture) {
    failures_ = 0;
    const auto slot = copying_ ? slots_.find(*copying_) : slots_.end();
    copying_.reset();
    if (slot == slots_.end() || !chosen_) {
        return;  // of a format that was given up meanwhile
    }
    if (picture.upside_down) {
        display_->connection().fail_with(
            {Fault::unsupported,
             std::format("the compositor copies {} upside down, which is not supported", name()),
             0});
        return;
    }
    const BufferRequest& copied = chosen_->request;
    auto damage =
        damage_within(picture, region_.value_or(PictureArea{0, 0, copied.width, copied.height}));
    if (!damage) {
        slot->second.free = true;  // nothing in the region has changed
        return;
    }
    CapturedFrame frame;
    frame.info.slot = slot->first;
    frame.info.serial = next_serial_++;
    frame.info.commit = next_picture_++;
    frame.info.time_ns = credible_time(picture.time_ns);
    frame.info.path = FramePath::copied;
    frame.info.reason = FrameReason::screencopy;
    frame.info.damage = std::move(*damage);
    frame.info.damage_since = frame.info.damage.empty() ? 0 : frame.info.commit - 1;
    frame.fence = slot->second.fences.copied();
    give_memory(frame, slot->first, slot->second);
    frames_.push(std::move(frame));
}

}  // namespace stepscope
