// SPDX-License-Identifier: LGPL-2.1-or-later
// Prints what a PipeWire video node says about its pictures, a line of JSON for each, until it is
// ended: stepscope-pipewire-probe NODE. With a further argument it drives: it asks for a picture
// for each line that it reads, and prints null if there is none.
#include <poll.h>
#include <spa/buffer/meta.h>
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "tests/support/pipewire_consumer.hpp"

using nlohmann::json;
using namespace stepscope::testing;

namespace {

json numbers(const spa_region& region) {
    return {region.position.x, region.position.y, region.size.width, region.size.height};
}

template <typename T>
const T* meta_of(const pw_buffer& buffer, uint32_t type) {
    return static_cast<const T*>(spa_buffer_find_meta_data(buffer.buffer, type, sizeof(T)));
}

json damage_of(const pw_buffer& buffer) {
    json boxes = json::array();
    const spa_meta* meta = spa_buffer_find_meta(buffer.buffer, SPA_META_VideoDamage);
    if (meta != nullptr) {
        const spa_meta_region* region = nullptr;
        spa_meta_for_each(region, meta) {
            if (!spa_meta_region_is_valid(region)) {
                break;
            }
            boxes.push_back(numbers(region->region));
        }
    }
    return boxes;
}

json cursor_of(const pw_buffer& buffer) {
    const auto* cursor = meta_of<spa_meta_cursor>(buffer, SPA_META_Cursor);
    if (cursor == nullptr) {
        return nullptr;
    }
    json facts{{"id", cursor->id},
               {"position", {cursor->position.x, cursor->position.y}},
               {"hotspot", {cursor->hotspot.x, cursor->hotspot.y}}};
    if (cursor->id != 0 && cursor->bitmap_offset >= sizeof(spa_meta_cursor)) {
        const auto* bitmap = SPA_PTROFF(cursor, cursor->bitmap_offset, const spa_meta_bitmap);
        facts["format"] = bitmap->format;
        facts["size"] = {bitmap->size.width, bitmap->size.height};
        auto pixel = [bitmap](uint32_t x, uint32_t y) {
            const auto* row = SPA_PTROFF(
                bitmap, bitmap->offset + y * static_cast<uint32_t>(bitmap->stride), const uint32_t);
            return row[x];
        };
        facts["first"] = pixel(0, 0);
        facts["last"] = pixel(bitmap->size.width - 1, bitmap->size.height - 1);
    }
    return facts;
}

json facts_of(const pw_buffer& buffer) {
    const spa_meta_header* header = header_of(&buffer);
    const auto* crop = meta_of<spa_meta_region>(buffer, SPA_META_VideoCrop);
    return {{"pts", header->pts},
            {"sequence", header->seq},
            {"corrupted", (header->flags & SPA_META_HEADER_FLAG_CORRUPTED) != 0},
            {"bytes", buffer.buffer->datas[0].chunk->size},
            {"crop", crop != nullptr ? numbers(crop->region) : json(nullptr)},
            {"damage", damage_of(buffer)},
            {"cursor", cursor_of(buffer)}};
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2 && argc != 3) {
        std::fprintf(stderr, "expected: stepscope-pipewire-probe NODE [request]\n");
        return 2;
    }
    const bool requests = argc == 3;
    PipewireConsumer consumer(argv[1], {.name = "probe",
                                        .modifiers = {},
                                        .damage = true,
                                        .crop = true,
                                        .cursor = true,
                                        .requests = requests});
    auto print = [&consumer](pw_buffer* buffer) {
        std::printf("%s\n", buffer != nullptr ? facts_of(*buffer).dump().c_str() : "null");
        std::fflush(stdout);
        if (buffer != nullptr) {
            consumer.give_back(buffer);
        }
    };
    if (requests) {
        pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
        char line = 0;
        while (consumer.run([&input] { return ::poll(&input, 1, 0) > 0; }) &&
               ::read(input.fd, &line, 1) == 1) {
            print(consumer.pull());
        }
        return 0;
    }
    while (pw_buffer* buffer = consumer.next()) {
        print(buffer);
    }
    std::fprintf(stderr, "%s\n", consumer.error().c_str());
    return 1;
}
