// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/unix_socket.hpp"

#include <sys/stat.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

using namespace stepscope;

namespace {
struct TemporaryDirectory {
    std::string path;
    TemporaryDirectory() {
        std::string pattern = std::filesystem::temp_directory_path() / "stepscope-test-XXXXXX";
        path = ::mkdtemp(pattern.data());
    }
    ~TemporaryDirectory() { std::filesystem::remove_all(path); }
};
}  // namespace

TEST_CASE("a listener can be reached and knows its peer") {
    TemporaryDirectory directory;
    auto listener = listen_unix(directory.path + "/s");
    REQUIRE(listener);
    auto client = connect_unix(directory.path + "/s");
    REQUIRE(client);
    auto peer = peer_credentials(client->get());
    REQUIRE(peer);
    CHECK(peer->uid == ::geteuid());
    CHECK(peer->pid == ::getpid());
}

TEST_CASE("a live listener is not displaced, a dead one's path is taken over") {
    TemporaryDirectory directory;
    const std::string path = directory.path + "/s";
    auto first = listen_unix(path);
    REQUIRE(first);
    auto second = listen_unix(path);
    REQUIRE_FALSE(second);
    CHECK(second.error().fault == Fault::busy);
    CHECK(second.error().message.contains(path));
    first->reset();
    CHECK(listen_unix(path).has_value());
}

TEST_CASE("a file that is no socket is left alone") {
    TemporaryDirectory directory;
    const std::string path = directory.path + "/notes";
    std::ofstream(path) << "mine";
    auto refused = listen_unix(path);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message.contains("no socket"));
    CHECK(std::filesystem::file_size(path) == 4);
}

TEST_CASE("a listener of another kind is not displaced") {
    TemporaryDirectory directory;
    const std::string path = directory.path + "/s";
    auto stream = listen_unix(path);
    REQUIRE(stream);
    CHECK(listen_unix(path, 16, SocketKind::packets).error().fault == Fault::busy);
}

TEST_CASE("paths that can't be sockets are refused by name") {
    CHECK(listen_unix("").error().fault == Fault::usage);
    CHECK(connect_unix(std::string(200, 'x')).error().message.contains("200 bytes"));
    CHECK(connect_unix("/nonexistent/socket").error().fault == Fault::not_found);
}
