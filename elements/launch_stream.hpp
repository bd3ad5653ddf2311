// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <gst/gst.h>

#include <functional>
#include <mutex>

#include "gst/gst_ptr.hpp"

namespace stepscope {

/**
 * What leaves a steamlaunchsrc: streams that go on over all attempts. Watches the pads that the
 * inner sources push to, and tells the end of a stream from the end of an attempt. For any thread;
 * the hooks are called on the sources' streaming threads, with no lock held.
 */
class LaunchStream {
public:
    struct Hooks {
        /** The first picture of an attempt. */
        std::function<void()> first_frame;
        /** The sources have no more; what that means depends on why. */
        std::function<void()> capture_over;
        /** The pictures have ended by themselves, at `end` of this attempt's time. */
        std::function<void(GstClockTime end)> pictures_ended;
        /** So has the sound, and before that was known: its end is still to be sent. */
        std::function<void()> sound_ended;
    };

    explicit LaunchStream(Hooks hooks) : hooks_(std::move(hooks)) {}
    LaunchStream(const LaunchStream&) = delete;
    LaunchStream& operator=(const LaunchStream&) = delete;

    /** Before the first attempt. `endless_push`: pictures come by PipeWire, without an end of their
     * own. `stepped_sound`: the sound of a step comes with its picture. */
    void begin(bool endless_push, bool stepped_sound);
    /** Before each attempt. */
    void begin_attempt();
    /** What to add to this attempt's times for them to go on, where they begin with 0. */
    GstClockTimeDiff offset() const;

    /** To be sent with the next picture. */
    void set_tags(GstPtr<GstTagList> tags);
    /** The session said that it ends. */
    void note_session_over();
    /** An error of a source, until it is known why. */
    void keep_error(GstMessage* message);
    GstPtr<GstMessage> take_error();

    /** Watch what a source pushes; once per pad, which must not outlive this object. */
    void follow_pictures(GstPad* pad);
    void follow_sound(GstPad* pad);

private:
    enum class Ended { no, by_itself, with_the_session };

    static GstPadProbeReturn handle_pictures(GstPad* pad, GstPadProbeInfo* info, gpointer data);
    static GstPadProbeReturn handle_sound(GstPad* pad, GstPadProbeInfo* info, gpointer data);
    void handle_picture(GstPad* pad, GstBuffer* buffer);
    GstPadProbeReturn handle_pictures_end();
    GstPadProbeReturn handle_sound_end();

    const Hooks hooks_;
    mutable std::mutex mutex_;  // guards what is below
    bool endless_push_ = false;
    bool stepped_sound_ = false;
    bool session_over_ = false;
    GstPtr<GstMessage> kept_error_;
    GstPtr<GstTagList> tags_;
    GstClockTimeDiff offset_ = 0;
    GstClockTime pictures_until_ = 0;  // ends of the last buffers, without the offset
    GstClockTime sound_until_ = 0;
    bool frame_seen_ = false;
    Ended pictures_ = Ended::no;
    bool sound_over_ = false;
};

}  // namespace stepscope
