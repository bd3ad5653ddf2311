// SPDX-License-Identifier: LGPL-2.1-or-later
// What ScreencopyCapture agrees on with downstream: caps, size and rate.
#include <gst/allocators/gstdmabuf.h>

#include <format>
#include <initializer_list>

#include "consumer_device.hpp"
#include "gst/element_error.hpp"
#include "negotiation.hpp"
#include "screencopy_capture.hpp"

GST_DEBUG_CATEGORY_EXTERN(gst_wl_screencopy_src_debug);
#define GST_CAT_DEFAULT gst_wl_screencopy_src_debug

namespace stepscope {
namespace {

using Clock = PictureSource::Clock;

/** How long a session may take to show its game in another size. */
constexpr std::chrono::seconds kSizeTimeout{5};

bool agree_without(std::initializer_list<const char*> fields, const GstCaps* ours,
                   const GstCaps* theirs) {
    GstPtr<GstCaps> rest(gst_caps_copy(theirs));
    for (guint i = 0; i < gst_caps_get_size(rest.get()); ++i) {
        for (const char* field : fields) {
            gst_structure_remove_field(gst_caps_get_structure(rest.get(), i), field);
        }
    }
    return gst_caps_can_intersect(ours, rest.get()) != FALSE;
}

const char* what_to_do(const GstCaps* ours, const GstCaps* theirs) {
    if (agree_without({"framerate"}, ours, theirs)) {
        return "choose a framerate that it has, or insert videorate";
    }
    if (agree_without({"framerate", "width", "height"}, ours, theirs)) {
        return "choose a width and height that a session can have, or insert videoscale";
    }
    return "insert videoconvert, or glupload for DMA-BUF memory";
}

/** True if pictures of the one are pictures of the other, at whatever rate. */
bool same_pictures(const GstCaps* one, const GstCaps* other) {
    GstPtr<GstCaps> rated(gst_caps_copy(one));
    gst_caps_set_value(rated.get(), "framerate",
                       gst_structure_get_value(gst_caps_get_structure(other, 0), "framerate"));
    return gst_caps_is_equal(rated.get(), other) != FALSE;
}

}  // namespace

bool ScreencopyCapture::negotiate() {
    std::optional<PictureFormat> format;
    {
        std::lock_guard lock(mutex_);
        format = format_;
    }
    GstPtr<GstCaps> offered = caps();
    GstPtr<GstCaps> everything = picture_template_caps();
    GstPtr<GstCaps> peer(gst_pad_peer_query_caps(GST_BASE_SRC_PAD(element_), everything.get()));
    source_->set_formats(readable_formats(peer.get(), settings_.zero_copy == ZeroCopy::off));
    Negotiation found = negotiate_caps(peer.get(), offered.get(), source_->refresh());
    switch (found.outcome) {
        case Negotiation::Outcome::other_size:
            forget_agreement();
            set_step_rate(found.rate);
            return ask_for_size(found.width, found.height);
        case Negotiation::Outcome::agreed:
            set_step_rate(found.rate);
            if (const auto formats = source_->formats(); !formats.empty()) {
                format = chosen_format(found.caps.get(), formats);
                if (auto chosen = source_->choose(*format); !chosen) {
                    if (source_->formats().empty()) {
                        post_error(element(), chosen.error());
                        return false;
                    }
                    GST_INFO_OBJECT(element_, "another format: %s", chosen.error().message.c_str());
                    return negotiate();  // that one is no longer among them
                }
                std::lock_guard lock(mutex_);
                format_ = format;
            }
            if (!format) {
                return true;  // caps need the first frame's format
            }
            // Before the caps are set: set_caps() looks at it.
            agreed_ = format;
            wanted_size_ = {0, 0};
            size_deadline_.reset();
            if (!gst_base_src_set_caps(element_, found.caps.get())) {
                agreed_.reset();
                return false;
            }
            return true;
        case Negotiation::Outcome::impossible:
            break;
    }
    if (!format && source_->formats().empty()) {
        return true;  // the first frame may be of a format that downstream accepts
    }
    const std::string device = source_->device();
    GstPtr<char> ours(gst_caps_to_string(offered.get()));
    GstPtr<char> theirs(gst_caps_to_string(peer.get()));
    post_error(
        element(), GST_CORE_ERROR, GST_CORE_ERROR_NEGOTIATION,
        std::format("downstream accepts none of what the session{} has: it has {}, accepted is "
                    "{}; {}",
                    device.empty() ? "" : " on '" + device + "'",
                    gst_caps_is_empty(offered.get()) ? "a format that can't be mapped" : ours.get(),
                    theirs.get(), what_to_do(offered.get(), peer.get())));
    return false;
}

bool ScreencopyCapture::set_caps(const GstCaps* caps) {
    const GstStructure* structure = gst_caps_get_structure(caps, 0);
    int numerator = 0;
    int denominator = 1;
    gst_structure_get_fraction(structure, "framerate", &numerator, &denominator);
    {
        std::lock_guard lock(mutex_);
        rate_ = {static_cast<uint32_t>(numerator), static_cast<uint32_t>(denominator)};
    }
    plain_memory_ =
        !gst_caps_features_contains(gst_caps_get_features(caps, 0), GST_CAPS_FEATURE_MEMORY_DMABUF);
    if (plain_memory_ && !gst_video_info_from_caps(&info_, caps)) {
        return false;
    }
    consumer_device_ = plain_memory_ ? "" : consumer_device(GST_BASE_SRC_PAD(element_));
    // At another rate, too, there is the last picture to repeat: the game may draw none for long.
    const bool constant_rate = steps_ || numerator != 0;
    if (!constant_rate || !agreed_caps_ || !same_pictures(agreed_caps_.get(), caps)) {
        last_.reset();
    }
    agreed_caps_.reset(gst_caps_copy(caps));
    copier_.reset();
    ticks_.stop();
    post_latency_change();
    return true;
}

void ScreencopyCapture::use_memory(GstQuery* allocation) {
    // Copies into plain memory are made from ours.
    source_->use_memory(settings_.zero_copy == ZeroCopy::off ? MemoryProposal{}
                                                             : MemoryProposal::from(allocation));
}

void ScreencopyCapture::forget_agreement() {
    agreed_.reset();
    copier_.reset();
    last_.reset();
    ticks_.stop();
}

bool ScreencopyCapture::ask_for_size(uint32_t width, uint32_t height) {
    if (wanted_size_ == std::pair(width, height)) {
        return true;
    }
    GST_INFO_OBJECT(element_, "asking the session for %ux%u", width, height);
    wanted_size_ = {width, height};
    size_deadline_ = Clock::now() + kSizeTimeout;
    if (auto asked = source_->resize(width, height); !asked) {
        post_error(element(), GST_CORE_ERROR, GST_CORE_ERROR_NEGOTIATION, asked.error().message);
        return false;
    }
    return true;
}

ScreencopyCapture::Fate ScreencopyCapture::agree_on(const CapturedFrame& frame) {
    if (agreed_ == frame.format()) {
        return Fate::push;
    }
    const bool known = format_.has_value();
    {
        std::lock_guard lock(mutex_);
        format_ = frame.format();
    }
    forget_agreement();
    if (!gst_base_src_negotiate(element_)) {
        return flushing_ || ended_ ? Fate::flushing : Fate::error;
    }
    if (agreed_ != frame.format()) {
        return Fate::skip;  // the source was asked for another size or format
    }
    discontinuity_ = known;
    return Fate::push;
}

bool ScreencopyCapture::within_deadlines() {
    const auto now = Clock::now();
    if (refused_ && (!require_deadline_ || now >= *require_deadline_)) {
        post_error(element(), GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
                   std::format("zero-copy=require, but a picture did not pass through: {}",
                               explain(*refused_)));
        return false;
    }
    if (size_deadline_ && now >= *size_deadline_) {
        const auto [width, height] = picture_size();
        post_error(
            element(), GST_CORE_ERROR, GST_CORE_ERROR_NEGOTIATION,
            std::format("downstream wants pictures of {}x{}, but {} still shows "
                        "{}x{}; insert videoscale, or start the session with that size",
                        wanted_size_.first, wanted_size_.second, source_->name(), width, height));
        return false;
    }
    return true;
}

std::optional<Clock::time_point> ScreencopyCapture::next_deadline() const {
    std::optional<Clock::time_point> next = size_deadline_;
    if (refused_ && require_deadline_ && (!next || *require_deadline_ < *next)) {
        next = require_deadline_;
    }
    return next;
}

}  // namespace stepscope
