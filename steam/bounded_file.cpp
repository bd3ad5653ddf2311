// SPDX-License-Identifier: LGPL-2.1-or-later
#include "bounded_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <format>

#include "base/unique_fd.hpp"

namespace stepscope::steam {
namespace {

struct RegularFile {
    UniqueFd fd;
    size_t size = 0;
};

Result<RegularFile> open_regular(const std::string& path) {
    RegularFile file;
    file.fd = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    struct stat status{};
    if (!file.fd || ::fstat(file.fd.get(), &status) < 0) {
        return fail_errno(std::format("can't read '{}'", path));
    }
    if (!S_ISREG(status.st_mode)) {
        return fail(Fault::protocol, std::format("expected a regular file at '{}'", path));
    }
    file.size = static_cast<size_t>(status.st_size);
    return file;
}

/** Reads until the end or until `content` is full; the number of bytes, or -1 with errno. */
ssize_t read_up_to(int fd, char* content, size_t size) {
    size_t done = 0;
    while (done < size) {
        ssize_t got = ::read(fd, content + done, size - done);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return -1;
        }
        if (got == 0) {
            break;
        }
        done += static_cast<size_t>(got);
    }
    return static_cast<ssize_t>(done);
}

}  // namespace

Result<std::string> read_bounded_file(const std::string& path, size_t max_bytes) {
    auto file = open_regular(path);
    if (!file) {
        return std::unexpected(file.error());
    }
    auto too_large = [&] {
        return fail(Fault::unsupported,
                    std::format("'{}' is larger than the {} bytes that such a file may have", path,
                                max_bytes));
    };
    if (file->size > max_bytes) {
        return too_large();
    }
    // One byte more than it should have tells a file that has grown since.
    std::string content(std::min(file->size, max_bytes) + 1, '\0');
    for (size_t done = 0;;) {
        ssize_t got = read_up_to(file->fd.get(), content.data() + done, content.size() - done);
        if (got < 0) {
            return fail_errno(std::format("can't read '{}'", path));
        }
        done += static_cast<size_t>(got);
        if (done < content.size()) {
            content.resize(done);
            return content;
        }
        if (done > max_bytes) {
            return too_large();
        }
        content.resize(std::min(content.size() * 2, max_bytes + 1));
    }
}

Result<std::string> read_file_tail(const std::string& path, size_t bytes) {
    auto file = open_regular(path);
    if (!file) {
        return std::unexpected(file.error());
    }
    size_t length = std::min(file->size, bytes);
    std::string content(length, '\0');
    if (::lseek(file->fd.get(), static_cast<off_t>(file->size - length), SEEK_SET) < 0) {
        return fail_errno(std::format("can't read '{}'", path));
    }
    ssize_t got = read_up_to(file->fd.get(), content.data(), length);
    if (got < 0) {
        return fail_errno(std::format("can't read '{}'", path));
    }
    content.resize(static_cast<size_t>(got));
    return content;
}

}  // namespace stepscope::steam
