// SPDX-License-Identifier: LGPL-2.1-or-later
#include "negotiation.hpp"

namespace stepscope {
namespace {

/** Sides that the protocol allows for an output. */
constexpr int kMinSide = 16;
constexpr int kMaxSide = 16384;
/** Longest step of the protocol. */
constexpr int kMaxStepSeconds = 3600;

/** The rate of a structure in which it is fixed. */
RefreshRate rate_of(const GstStructure* structure) {
    int numerator = 0;
    int denominator = 1;
    gst_structure_get_fraction(structure, "framerate", &numerator, &denominator);
    return {static_cast<uint32_t>(numerator), static_cast<uint32_t>(denominator)};
}

void fixate_rate(GstStructure* structure, const RefreshRate& session) {
    GValue every_commit = G_VALUE_INIT;
    g_value_init(&every_commit, GST_TYPE_FRACTION);
    gst_value_set_fraction(&every_commit, 0, 1);
    const GValue* allowed = gst_structure_get_value(structure, "framerate");
    if (allowed == nullptr || gst_value_intersect(nullptr, allowed, &every_commit)) {
        gst_structure_set_value(structure, "framerate", &every_commit);
    } else if (session.unlimited()) {
        gst_structure_fixate_field_nearest_fraction(structure, "framerate", 60, 1);
    } else {
        gst_structure_fixate_field_nearest_fraction(structure, "framerate",
                                                    static_cast<int>(session.numerator),
                                                    static_cast<int>(session.denominator));
    }
    g_value_unset(&every_commit);
}

}  // namespace

GstPtr<GstCaps> with_step_rates(GstPtr<GstCaps> caps) {
    GstPtr<GstCaps> stepped(gst_caps_make_writable(caps.release()));
    gst_caps_set_simple(stepped.get(), "framerate", GST_TYPE_FRACTION_RANGE, 1, kMaxStepSeconds,
                        static_cast<int>(kMaxRefreshHertz), 1, nullptr);
    return stepped;
}

Negotiation negotiate_caps(const GstCaps* peer, const GstCaps* offered,
                           const RefreshRate& session) {
    Negotiation result;
    auto* peer_caps = const_cast<GstCaps*>(peer);  // only for want of const in the C API
    auto* own_caps = const_cast<GstCaps*>(offered);
    GstPtr<GstCaps> common(gst_caps_intersect_full(own_caps, peer_caps, GST_CAPS_INTERSECT_FIRST));
    if (!gst_caps_is_empty(common.get())) {
        common.reset(gst_caps_truncate(gst_caps_make_writable(common.release())));
        fixate_rate(gst_caps_get_structure(common.get(), 0), session);
        common.reset(gst_caps_fixate(common.release()));
        result.outcome = Negotiation::Outcome::agreed;
        result.rate = rate_of(gst_caps_get_structure(common.get(), 0));
        result.caps = std::move(common);
        return result;
    }

    GstPtr<GstCaps> any_size = without_size(offered);
    common.reset(gst_caps_intersect_full(any_size.get(), peer_caps, GST_CAPS_INTERSECT_FIRST));
    if (gst_caps_is_empty(common.get()) || gst_caps_get_size(offered) == 0) {
        return result;
    }
    common.reset(gst_caps_truncate(gst_caps_make_writable(common.release())));
    GstStructure* wanted = gst_caps_get_structure(common.get(), 0);
    const GstStructure* own = gst_caps_get_structure(offered, 0);
    int width = 0;
    int height = 0;
    gst_structure_get_int(own, "width", &width);
    gst_structure_get_int(own, "height", &height);
    gst_structure_fixate_field_nearest_int(wanted, "width", width);
    gst_structure_fixate_field_nearest_int(wanted, "height", height);
    gst_structure_get_int(wanted, "width", &width);
    gst_structure_get_int(wanted, "height", &height);
    if (width < kMinSide || width > kMaxSide || height < kMinSide || height > kMaxSide) {
        return result;
    }
    fixate_rate(wanted, session);
    result.rate = rate_of(wanted);
    result.outcome = Negotiation::Outcome::other_size;
    result.width = static_cast<uint32_t>(width);
    result.height = static_cast<uint32_t>(height);
    return result;
}

}  // namespace stepscope
