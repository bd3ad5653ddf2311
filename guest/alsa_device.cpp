// SPDX-License-Identifier: LGPL-2.1-or-later
#include <alsa/asoundlib.h>
#include <alsa/pcm_external.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/sound_page.hpp"

/**
 * A sound device for ALSA that lives in virtual time: a frame is played when the game's clock says
 * so, and what is played is added to the session's sound page. It asks the C library for the time
 * and for timers, so the clock library must be in the process.
 */
namespace {

using namespace stepscope;

constexpr unsigned kBytesPerFrame = sound::kChannels * sizeof(int16_t);
constexpr unsigned kLeastPeriod = 64 * kBytesPerFrame;
constexpr unsigned kLargestPeriod = 32768 * kBytesPerFrame;
constexpr unsigned kLargestBuffer = 65536 * kBytesPerFrame;
constexpr unsigned kMostPeriods = 1024;
constexpr uint64_t kNsPerS = 1'000'000'000;

enum class Motion : uint32_t { stopped, running, paused };

/** One open device. ALSA calls everything but the poll functions under the device's lock. */
struct Device {
    snd_pcm_ioplug_t io;
    sound::Page* page;
    int timer;
    // Positions count frames since the device was prepared.
    std::atomic<uint64_t> written;
    std::atomic<uint64_t> start;   // the session's frame at which position 0 is heard
    std::atomic<uint64_t> paused;  // position at which it was paused
    std::atomic<Motion> motion;
    snd_pcm_uframes_t next_appl;  // where ALSA's application pointer should be
    snd_pcm_uframes_t boundary;
    snd_pcm_uframes_t least_avail;
    bool ends_empty;    // an empty buffer stops it
    int16_t* recent;    // what was written last, as long as the buffer
    uint64_t capacity;  // of that, in frames
};

Device& device_of(snd_pcm_ioplug_t* io) {
    return *static_cast<Device*>(io->private_data);
}

timespec to_timespec(uint64_t ns) {
    return {static_cast<time_t>(ns / kNsPerS), static_cast<long>(ns % kNsPerS)};
}

/** The session's virtual time. */
uint64_t session_ns(const sound::Page& page) {
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    const int64_t ns =
        time.tv_sec * static_cast<int64_t>(kNsPerS) + time.tv_nsec - page.origin_ns.load();
    return ns > 0 ? static_cast<uint64_t>(ns) : 0;
}

/** When a running device gets to this position, by CLOCK_MONOTONIC. */
uint64_t time_at(const Device& device, uint64_t position) {
    return sound::time_of(device.start + position) +
           static_cast<uint64_t>(device.page->origin_ns.load());
}

/** How far it has played: may be beyond what was written. */
uint64_t position_of(const Device& device) {
    switch (device.motion.load()) {
        case Motion::stopped:
            break;
        case Motion::paused:
            return device.paused;
        case Motion::running: {
            const uint64_t frame = sound::frame_at(session_ns(*device.page));
            return frame > device.start ? frame - device.start : 0;
        }
    }
    return 0;
}

/** Adds frames that were written to the session's sound, or takes them out again. */
void mix(const Device& device, uint64_t from, uint64_t to, int sign) {
    sound::Page& page = *device.page;
    const uint64_t first = page.taken.load(std::memory_order_relaxed);
    uint64_t lost = 0;
    for (uint64_t position = from; position < to; ++position) {
        const uint64_t frame = device.start + position;
        if (frame < first || frame >= first + sound::kFrames) {
            lost += frame >= first ? 1 : 0;
            continue;
        }
        const int16_t* samples = device.recent + position % device.capacity * sound::kChannels;
        for (uint32_t channel = 0; channel < sound::kChannels; ++channel) {
            page.samples[frame % sound::kFrames][channel].fetch_add(sign * samples[channel],
                                                                    std::memory_order_relaxed);
        }
    }
    if (lost != 0 && sign > 0) {
        page.lost.fetch_add(lost, std::memory_order_relaxed);
    }
}

/** Takes out what was written from this position on and has not been heard. */
void take_back(const Device& device, uint64_t from) {
    if (device.motion != Motion::running) {
        return;
    }
    const uint64_t written = device.written;
    const uint64_t kept = written > device.capacity ? written - device.capacity : 0;
    const uint64_t heard = position_of(device);
    uint64_t first = from > heard ? from : heard;
    first = first > kept ? first : kept;
    if (first < written) {
        mix(device, first, written, -1);
    }
}

uint64_t room_of(const Device& device, uint64_t position) {
    const uint64_t written = device.written;
    const uint64_t waiting = written > position ? written - position : 0;
    return waiting < device.io.buffer_size ? device.io.buffer_size - waiting : 0;
}

/** Sets the timer, which wakes who waits for the device, to when there is room enough. */
void arm(const Device& device) {
    const uint64_t needed = device.written + device.least_avail;
    const uint64_t position = needed > device.io.buffer_size ? needed - device.io.buffer_size : 0;
    itimerspec when{};
    if (device.motion == Motion::running) {
        when.it_value = to_timespec(time_at(device, position));
    } else if (position == 0) {
        when.it_value = {0, 1};  // at once
    }
    ::timerfd_settime(device.timer, TFD_TIMER_ABSTIME, &when, nullptr);
}

int start(snd_pcm_ioplug_t* io) {
    Device& device = device_of(io);
    device.start = sound::frame_at(session_ns(*device.page));
    device.motion = Motion::running;
    mix(device, 0, device.written, 1);
    arm(device);
    return 0;
}

int stop(snd_pcm_ioplug_t* io) {
    Device& device = device_of(io);
    take_back(device, 0);
    device.motion = Motion::stopped;
    device.written = 0;
    arm(device);
    return 0;
}

int prepare(snd_pcm_ioplug_t* io) {
    Device& device = device_of(io);
    stop(io);
    device.next_appl = io->appl_ptr;
    if (device.capacity != io->buffer_size) {
        ::free(device.recent);
        device.capacity = 0;
        device.recent = static_cast<int16_t*>(::calloc(io->buffer_size, kBytesPerFrame));
        if (!device.recent) {
            return -ENOMEM;
        }
        device.capacity = io->buffer_size;
    }
    arm(device);
    return 0;
}

int pause(snd_pcm_ioplug_t* io, int enable) {
    Device& device = device_of(io);
    const uint64_t position = position_of(device);
    if (enable != 0) {
        take_back(device, 0);
        device.paused = position;
        device.motion = Motion::paused;
    } else {
        device.start = sound::frame_at(session_ns(*device.page)) - position;
        device.motion = Motion::running;
        mix(device, position, device.written, 1);
    }
    arm(device);
    return 0;
}

snd_pcm_sframes_t pointer(snd_pcm_ioplug_t* io) {
    const Device& device = device_of(io);
    const uint64_t position = position_of(device);
    if (device.motion == Motion::running && device.ends_empty && position > device.written) {
        return -EPIPE;
    }
    return static_cast<snd_pcm_sframes_t>(position % device.boundary);
}

snd_pcm_sframes_t transfer(snd_pcm_ioplug_t* io, const snd_pcm_channel_area_t* areas,
                           snd_pcm_uframes_t offset, snd_pcm_uframes_t size) {
    Device& device = device_of(io);
    const snd_pcm_uframes_t back =
        (device.next_appl + device.boundary - io->appl_ptr) % device.boundary;
    if (back != 0 && back <= device.written && back <= device.capacity) {
        // The application went back, to write something else.
        take_back(device, device.written - back);
        device.written -= back;
    }
    const uint64_t from = device.written;
    const auto* source =
        static_cast<const char*>(areas->addr) + areas->first / 8 + offset * (areas->step / 8);
    for (snd_pcm_uframes_t i = 0; i < size; ++i) {
        ::memcpy(device.recent + (from + i) % device.capacity * sound::kChannels,
                 source + i * (areas->step / 8), kBytesPerFrame);
    }
    device.written = from + size;
    device.next_appl = (io->appl_ptr + size) % device.boundary;
    if (device.motion == Motion::running) {
        mix(device, from, from + size, 1);
    }
    arm(device);
    return static_cast<snd_pcm_sframes_t>(size);
}

int drain(snd_pcm_ioplug_t* io) {
    Device& device = device_of(io);
    if (device.motion == Motion::stopped) {
        start(io);
    }
    if (position_of(device) >= device.written) {
        return 0;
    }
    const timespec end = to_timespec(time_at(device, device.written));
    if (io->nonblock != 0) {
        const itimerspec when{{}, end};
        ::timerfd_settime(device.timer, TFD_TIMER_ABSTIME, &when, nullptr);
        return -EAGAIN;
    }
    ::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, nullptr);
    return 0;
}

int set_software(snd_pcm_ioplug_t* io, snd_pcm_sw_params_t* params) {
    Device& device = device_of(io);
    snd_pcm_uframes_t threshold = 0;
    snd_pcm_sw_params_get_boundary(params, &device.boundary);
    snd_pcm_sw_params_get_avail_min(params, &device.least_avail);
    snd_pcm_sw_params_get_stop_threshold(params, &threshold);
    device.ends_empty = threshold < device.boundary;
    if (device.least_avail > io->buffer_size) {
        device.least_avail = io->buffer_size;
    }
    return 0;
}

int describe_wait(snd_pcm_ioplug_t* io, pollfd* descriptors, unsigned space) {
    if (space == 0) {
        return 0;
    }
    descriptors[0] = {device_of(io).timer, POLLIN, 0};
    return 1;
}

int explain_wait(snd_pcm_ioplug_t* io, pollfd* descriptors, unsigned /*count*/,
                 unsigned short* events) {
    const Device& device = device_of(io);
    const uint64_t position = position_of(device);
    const bool ready = room_of(device, position) >= device.least_avail || position > device.written;
    *events = ready ? POLLOUT : 0;
    if (!ready && (descriptors[0].revents & POLLIN) != 0) {
        arm(device);
    }
    return 0;
}

int close_device(snd_pcm_ioplug_t* io) {
    Device& device = device_of(io);
    take_back(device, 0);
    ::close(device.timer);
    ::munmap(device.page, sizeof(sound::Page));
    ::free(device.recent);
    ::free(&device);
    return 0;
}

constexpr snd_pcm_ioplug_callback_t make_callbacks() {
    snd_pcm_ioplug_callback_t callbacks{};
    callbacks.start = start;
    callbacks.stop = stop;
    callbacks.pointer = pointer;
    callbacks.transfer = transfer;
    callbacks.close = close_device;
    callbacks.sw_params = set_software;
    callbacks.prepare = prepare;
    callbacks.drain = drain;
    callbacks.pause = pause;
    callbacks.poll_descriptors = describe_wait;
    callbacks.poll_revents = explain_wait;
    return callbacks;
}
constexpr snd_pcm_ioplug_callback_t kCallbacks = make_callbacks();

/** Null with errno where it can't be, or is not what it should be. */
sound::Page* map_page(const char* path) {
    const int fd = ::open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return nullptr;
    }
    struct stat status{};
    void* memory = MAP_FAILED;
    if (::fstat(fd, &status) == 0 && status.st_size == sizeof(sound::Page)) {
        memory = ::mmap(nullptr, sizeof(sound::Page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    ::close(fd);
    if (memory == MAP_FAILED) {
        return nullptr;
    }
    auto* page = static_cast<sound::Page*>(memory);
    if (page->magic != sound::kMagic || page->version != sound::kVersion) {
        ::munmap(memory, sizeof(sound::Page));
        errno = EPROTO;
        return nullptr;
    }
    return page;
}

/** Everything else is for ALSA's converters. */
int constrain(snd_pcm_ioplug_t* io) {
    struct Range {
        int what;
        unsigned least;
        unsigned most;
    };
    constexpr Range kRanges[] = {
        {SND_PCM_IOPLUG_HW_CHANNELS, sound::kChannels, sound::kChannels},
        {SND_PCM_IOPLUG_HW_RATE, sound::kRate, sound::kRate},
        {SND_PCM_IOPLUG_HW_PERIOD_BYTES, kLeastPeriod, kLargestPeriod},
        {SND_PCM_IOPLUG_HW_BUFFER_BYTES, 2 * kLeastPeriod, kLargestBuffer},
        {SND_PCM_IOPLUG_HW_PERIODS, 2, kMostPeriods},
    };
    constexpr unsigned kAccess[] = {SND_PCM_ACCESS_RW_INTERLEAVED, SND_PCM_ACCESS_MMAP_INTERLEAVED};
    constexpr unsigned kFormat[] = {SND_PCM_FORMAT_S16_LE};
    int error = snd_pcm_ioplug_set_param_list(io, SND_PCM_IOPLUG_HW_ACCESS, 2, kAccess);
    if (error >= 0) {
        error = snd_pcm_ioplug_set_param_list(io, SND_PCM_IOPLUG_HW_FORMAT, 1, kFormat);
    }
    for (const Range& range : kRanges) {
        if (error >= 0) {
            error = snd_pcm_ioplug_set_param_minmax(io, range.what, range.least, range.most);
        }
    }
    return error;
}

int open_device(snd_pcm_t** result, const char* name, const char* memory, int mode) {
    if (::dlsym(RTLD_DEFAULT, "stepscope_clock_present_gate") == nullptr) {
        SNDERR("this program does not live in the session's time; there is no sound for it");
        return -ENODEV;
    }
    sound::Page* page = map_page(memory);
    auto* device = page ? static_cast<Device*>(::calloc(1, sizeof(Device))) : nullptr;
    const int timer = device ? ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK) : -1;
    if (timer < 0) {
        const int error = errno;
        SNDERR("can't open the session's sound '%s': %s", memory, ::strerror(error));
        ::free(device);
        if (page) {
            ::munmap(page, sizeof(sound::Page));
        }
        return -error;
    }
    device->page = page;
    device->timer = timer;
    device->boundary = LONG_MAX;
    device->least_avail = 1;
    device->ends_empty = true;
    snd_pcm_ioplug_t& io = device->io;
    io.version = SND_PCM_IOPLUG_VERSION;
    io.name = "Sound of a Stepscope session, in virtual time";
    io.flags = SND_PCM_IOPLUG_FLAG_LISTED | SND_PCM_IOPLUG_FLAG_MONOTONIC |
               SND_PCM_IOPLUG_FLAG_BOUNDARY_WA;
    io.callback = &kCallbacks;
    io.private_data = device;
    io.poll_fd = timer;
    io.poll_events = POLLIN;
    int error = snd_pcm_ioplug_create(&io, name, SND_PCM_STREAM_PLAYBACK, mode);
    if (error < 0) {
        close_device(&io);
        return error;
    }
    error = constrain(&io);
    if (error < 0) {
        snd_pcm_ioplug_delete(&io);  // and with it the device
        return error;
    }
    *result = io.pcm;
    return 0;
}

}  // namespace

/** ALSA's entry point: a device of `type stepscope` in its configuration. */
extern "C" __attribute__((visibility("default"))) int _snd_pcm_stepscope_open(
    snd_pcm_t** result, const char* name, snd_config_t* /*root*/, snd_config_t* settings,
    snd_pcm_stream_t stream, int mode) {
    const char* memory = nullptr;
    snd_config_iterator_t i;
    snd_config_iterator_t next;
    snd_config_for_each(i, next, settings) {
        snd_config_t* entry = snd_config_iterator_entry(i);
        const char* id = nullptr;
        if (snd_config_get_id(entry, &id) >= 0 && ::strcmp(id, "memory") == 0) {
            snd_config_get_string(entry, &memory);
        }
    }
    if (!memory) {
        SNDERR("'memory' is missing: the path of the session's sound page");
        return -EINVAL;
    }
    return stream == SND_PCM_STREAM_PLAYBACK ? open_device(result, name, memory, mode) : -ENODEV;
}

/** By its name ALSA knows which version of its interface this was made for. */
extern "C" {
__attribute__((visibility("default"))) char __snd_pcm_stepscope_open_dlsym_pcm_001 = 0;
}
