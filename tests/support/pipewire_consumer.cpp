// SPDX-License-Identifier: LGPL-2.1-or-later
#include "pipewire_consumer.hpp"

#include <spa/buffer/meta.h>
#include <spa/param/buffers.h>
#include <spa/param/format-utils.h>
#include <spa/param/video/format-utils.h>

#include <array>
#include <chrono>
#include <map>
#include <string_view>
#include <utility>

namespace stepscope::testing {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kWatchdog(60);
/** Then a request for a picture was lost. */
constexpr std::chrono::seconds kPatience(2);
constexpr size_t kDamageBoxes = 16;
/** For 64x64 pixels. */
constexpr size_t kCursorRoom =
    sizeof(spa_meta_cursor) + sizeof(spa_meta_bitmap) + size_t{64} * 64 * 4;

/** A connection with the names of all nodes. */
struct Connection {
    Connection() {
        pw_init(nullptr, nullptr);
        loop = pw_main_loop_new(nullptr);
        context = pw_context_new(pw_main_loop_get_loop(loop), nullptr, 0);
        core = pw_context_connect(context, nullptr, 0);
        if (core != nullptr) {
            registry = pw_core_get_registry(core, PW_VERSION_REGISTRY, 0);
            pw_registry_add_listener(registry, &hook, &kEvents, this);
        }
    }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection() {
        if (link != nullptr) {
            pw_proxy_destroy(link);
        }
        if (registry != nullptr) {
            spa_hook_remove(&hook);
            pw_proxy_destroy(reinterpret_cast<pw_proxy*>(registry));
        }
        if (core != nullptr) {
            pw_core_disconnect(core);
        }
        pw_context_destroy(context);
        pw_main_loop_destroy(loop);
        pw_deinit();
    }

    bool run(const std::function<bool()>& done) const {
        const auto deadline = Clock::now() + kWatchdog;
        pw_loop* work = pw_main_loop_get_loop(loop);
        pw_loop_enter(work);
        bool is_done = false;
        while (core != nullptr && !(is_done = done()) && Clock::now() < deadline) {
            pw_loop_iterate(work, 20);
        }
        pw_loop_leave(work);
        return is_done;
    }

    static void handle_global(void* data, uint32_t id, uint32_t, const char* type, uint32_t,
                              const spa_dict* properties) {
        auto* self = static_cast<Connection*>(data);
        if (properties == nullptr) {
            return;
        }
        const std::string_view kind(type);
        const char* name = spa_dict_lookup(properties, PW_KEY_NODE_NAME);
        if (kind == PW_TYPE_INTERFACE_Node && name != nullptr) {
            self->nodes[name] = id;
        }
        const char* node = spa_dict_lookup(properties, PW_KEY_NODE_ID);
        if (kind == PW_TYPE_INTERFACE_Port && node != nullptr) {
            self->with_ports.insert(static_cast<uint32_t>(std::stoul(node)));
        }
    }

    bool link_nodes(const std::string& from, const std::string& to) {
        auto there = [&](const std::string& name) {
            auto found = nodes.find(name);
            return found != nodes.end() && with_ports.contains(found->second);
        };
        if (!run([&] { return there(from) && there(to); })) {
            return false;
        }
        const std::string output = std::to_string(nodes[from]);
        const std::string input = std::to_string(nodes[to]);
        const spa_dict_item items[] = {{PW_KEY_LINK_OUTPUT_NODE, output.c_str()},
                                       {PW_KEY_LINK_INPUT_NODE, input.c_str()}};
        const spa_dict dict = SPA_DICT_INIT_ARRAY(items);
        link = static_cast<pw_proxy*>(pw_core_create_object(
            core, "link-factory", PW_TYPE_INTERFACE_Link, PW_VERSION_LINK, &dict, 0));
        return link != nullptr;
    }

    static const pw_registry_events kEvents;

    pw_main_loop* loop;
    pw_context* context;
    pw_core* core;
    pw_registry* registry = nullptr;
    spa_hook hook{};
    pw_proxy* link = nullptr;
    std::map<std::string, uint32_t> nodes;
    std::set<uint32_t> with_ports;
};

const pw_registry_events Connection::kEvents{
    .version = PW_VERSION_REGISTRY_EVENTS,
    .global = handle_global,
    .global_remove = nullptr,
};

template <size_t size>
struct Builder {
    Builder() { spa_pod_builder_init(&builder, bytes.data(), size); }
    alignas(8) std::array<uint8_t, size> bytes{};
    spa_pod_builder builder{};
};

const spa_pod* format_pod(spa_pod_builder& builder, const ConsumerAbilities& abilities,
                          bool dmabuf) {
    spa_pod_frame object;
    spa_pod_frame choice;
    spa_pod_builder_push_object(&builder, &object, SPA_TYPE_OBJECT_Format, SPA_PARAM_EnumFormat);
    spa_pod_builder_add(&builder, SPA_FORMAT_mediaType, SPA_POD_Id(SPA_MEDIA_TYPE_video),
                        SPA_FORMAT_mediaSubtype, SPA_POD_Id(SPA_MEDIA_SUBTYPE_raw),
                        SPA_FORMAT_VIDEO_format, SPA_POD_Id(SPA_VIDEO_FORMAT_BGRx), 0);
    if (dmabuf) {
        spa_pod_builder_prop(&builder, SPA_FORMAT_VIDEO_modifier,
                             SPA_POD_PROP_FLAG_MANDATORY | SPA_POD_PROP_FLAG_DONT_FIXATE);
        spa_pod_builder_push_choice(&builder, &choice, SPA_CHOICE_Enum, 0);
        spa_pod_builder_long(&builder, static_cast<int64_t>(abilities.modifiers.front()));
        for (uint64_t modifier : abilities.modifiers) {
            spa_pod_builder_long(&builder, static_cast<int64_t>(modifier));
        }
        spa_pod_builder_pop(&builder, &choice);
    }
    if (abilities.width != 0) {
        const spa_rectangle size{abilities.width, abilities.height};
        spa_pod_builder_add(&builder, SPA_FORMAT_VIDEO_size, SPA_POD_Rectangle(&size), 0);
    }
    return static_cast<const spa_pod*>(spa_pod_builder_pop(&builder, &object));
}

const spa_pod* meta_pod(spa_pod_builder& builder, uint32_t type, size_t size,
                        uint32_t features = 0) {
    spa_pod_frame object;
    spa_pod_builder_push_object(&builder, &object, SPA_TYPE_OBJECT_ParamMeta, SPA_PARAM_Meta);
    spa_pod_builder_add(&builder, SPA_PARAM_META_type, SPA_POD_Id(type), SPA_PARAM_META_size,
                        SPA_POD_Int(static_cast<int>(size)), 0);
    if (features != 0) {
        spa_pod_builder_add(&builder, SPA_PARAM_META_features,
                            SPA_POD_Int(static_cast<int>(features)), 0);
    }
    return static_cast<const spa_pod*>(spa_pod_builder_pop(&builder, &object));
}

template <typename T>
T* meta_of(const pw_buffer* buffer, uint32_t type) {
    return static_cast<T*>(spa_buffer_find_meta_data(buffer->buffer, type, sizeof(T)));
}

}  // namespace

struct PipewireConsumer::Impl {
    static void handle_param(void* data, uint32_t id, const spa_pod* param) {
        auto* self = static_cast<PipewireConsumer*>(data);
        if (id == SPA_PARAM_Format && param != nullptr) {
            self->handle_format(param);
        }
    }
    static void handle_state(void* data, pw_stream_state, pw_stream_state state,
                             const char* error) {
        if (state == PW_STREAM_STATE_ERROR) {
            static_cast<PipewireConsumer*>(data)->error_ = error != nullptr ? error : "an error";
        }
    }
    static const pw_stream_events kEvents;

    Connection connection;
    pw_stream* stream = nullptr;
    spa_hook hook{};
};

const pw_stream_events PipewireConsumer::Impl::kEvents{
    .version = PW_VERSION_STREAM_EVENTS,
    .destroy = nullptr,
    .state_changed = handle_state,
    .control_info = nullptr,
    .io_changed = nullptr,
    .param_changed = handle_param,
    .add_buffer = nullptr,
    .remove_buffer = nullptr,
    .process = nullptr,
    .drained = nullptr,
    .command = nullptr,
    .trigger_done = nullptr,
};

PipewireConsumer::PipewireConsumer(const std::string& node, const ConsumerAbilities& abilities)
    : abilities_(abilities), impl_(std::make_unique<Impl>()) {
    if (impl_->connection.core == nullptr) {
        error_ = "no PipeWire";
        return;
    }
    impl_->stream = pw_stream_new(
        impl_->connection.core, abilities_.name.c_str(),
        pw_properties_new(PW_KEY_MEDIA_TYPE, "Video", PW_KEY_MEDIA_CATEGORY, "Capture",
                          PW_KEY_NODE_NAME, abilities_.name.c_str(), PW_KEY_NODE_SUPPORTS_REQUEST,
                          abilities_.requests ? "1" : "0", nullptr));
    pw_stream_add_listener(impl_->stream, &impl_->hook, &Impl::kEvents, this);
    Builder<2048> builder;
    std::vector<const spa_pod*> formats;
    if (!abilities_.modifiers.empty()) {
        formats.push_back(format_pod(builder.builder, abilities_, true));
    }
    if (abilities_.shared_memory) {
        formats.push_back(format_pod(builder.builder, abilities_, false));
    }
    pw_stream_connect(impl_->stream, PW_DIRECTION_INPUT, PW_ID_ANY, PW_STREAM_FLAG_NONE,
                      formats.data(), static_cast<uint32_t>(formats.size()));
    if (!impl_->connection.link_nodes(node, abilities_.name)) {
        error_ = "no link";
    }
}

PipewireConsumer::~PipewireConsumer() {
    if (impl_->stream != nullptr) {
        spa_hook_remove(&impl_->hook);
        pw_stream_destroy(impl_->stream);
    }
}

void PipewireConsumer::handle_format(const spa_pod* format) {
    spa_video_info_raw raw{};
    ++formats_;
    if (spa_format_video_raw_parse(format, &raw) < 0) {
        error_ = "not a format of video";
        return;
    }
    width_ = raw.size.width;
    height_ = raw.size.height;
    const spa_pod_prop* modifier = spa_pod_find_prop(format, nullptr, SPA_FORMAT_VIDEO_modifier);
    modifier_.reset();
    if (modifier != nullptr) {
        modifier_ = raw.modifier;
        if ((modifier->flags & SPA_POD_PROP_FLAG_DONT_FIXATE) != 0) {
            return;  // the producer is about to choose
        }
    }
    ++pools_;
    Builder<2048> builder;
    spa_pod_builder& b = builder.builder;
    std::vector<const spa_pod*> pods;
    const int type = modifier != nullptr ? 1 << SPA_DATA_DmaBuf : 1 << SPA_DATA_MemFd;
    for (bool synced : {true, false}) {
        if (synced && !abilities_.timelines) {
            continue;
        }
        spa_pod_frame object;
        spa_pod_builder_push_object(&b, &object, SPA_TYPE_OBJECT_ParamBuffers, SPA_PARAM_Buffers);
        spa_pod_builder_add(&b, SPA_PARAM_BUFFERS_dataType, SPA_POD_CHOICE_FLAGS_Int(type), 0);
        if (synced) {
            spa_pod_builder_prop(&b, SPA_PARAM_BUFFERS_metaType, SPA_POD_PROP_FLAG_MANDATORY);
            spa_pod_builder_int(&b, 1 << SPA_META_SyncTimeline);
        }
        pods.push_back(static_cast<const spa_pod*>(spa_pod_builder_pop(&b, &object)));
    }
    pods.push_back(meta_pod(b, SPA_META_Header, sizeof(spa_meta_header)));
    if (abilities_.damage) {
        pods.push_back(meta_pod(b, SPA_META_VideoDamage, sizeof(spa_meta_region) * kDamageBoxes));
    }
    if (abilities_.crop) {
        pods.push_back(meta_pod(b, SPA_META_VideoCrop, sizeof(spa_meta_region)));
    }
    if (abilities_.cursor) {
        pods.push_back(meta_pod(b, SPA_META_Cursor, kCursorRoom));
    }
    if (abilities_.timelines) {
        pods.push_back(meta_pod(b, SPA_META_SyncTimeline, sizeof(spa_meta_sync_timeline),
                                abilities_.release ? SPA_META_FEATURE_SYNC_TIMELINE_RELEASE : 0));
    }
    pw_stream_update_params(impl_->stream, pods.data(), static_cast<uint32_t>(pods.size()));
}

bool PipewireConsumer::run(const std::function<bool()>& done) {
    return impl_->connection.run(done);
}

pw_buffer* PipewireConsumer::next() {
    pw_buffer* buffer = nullptr;
    run([&] { return (buffer = pw_stream_dequeue_buffer(impl_->stream)) != nullptr; });
    return buffer;
}

pw_buffer* PipewireConsumer::pull() {
    pw_buffer* buffer = nullptr;
    auto ask_at = Clock::now();
    run([&] {
        // While the stream is negotiated nobody hears it.
        const bool streams =
            pw_stream_get_state(impl_->stream, nullptr) == PW_STREAM_STATE_STREAMING;
        if (streams && Clock::now() >= ask_at) {
            pw_stream_trigger_process(impl_->stream);
            ask_at = Clock::now() + kPatience;
        }
        return (buffer = pw_stream_dequeue_buffer(impl_->stream)) != nullptr;
    });
    return buffer;
}

void PipewireConsumer::give_back(pw_buffer* buffer) {
    pw_stream_queue_buffer(impl_->stream, buffer);
}

struct PipewireLink::Impl {
    Connection connection;
};

PipewireLink::PipewireLink(const std::string& from, const std::string& to)
    : impl_(std::make_unique<Impl>()), made_(impl_->connection.link_nodes(from, to)) {
    bool sent = !made_;
    impl_->connection.run([&] { return std::exchange(sent, true); });
}

PipewireLink::~PipewireLink() = default;

spa_meta_header* header_of(const pw_buffer* buffer) {
    return meta_of<spa_meta_header>(buffer, SPA_META_Header);
}

spa_meta_sync_timeline* sync_points_of(const pw_buffer* buffer) {
    return meta_of<spa_meta_sync_timeline>(buffer, SPA_META_SyncTimeline);
}

}  // namespace stepscope::testing
