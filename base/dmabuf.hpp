// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "error.hpp"
#include "sync_file.hpp"
#include "unique_fd.hpp"

namespace stepscope {

/** What somebody does with a buffer. Fences of readers only concern writers. */
enum class BufferAccess { read, write, read_write };

/** A shared mapping of a buffer; unmapped with this object. Independent of the DmaBuf's life. */
class DmaBufMapping {
public:
    DmaBufMapping(DmaBufMapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
    DmaBufMapping& operator=(DmaBufMapping&& other) noexcept {
        std::swap(bytes_, other.bytes_);
        return *this;
    }
    ~DmaBufMapping();

    /** Only to be touched between DmaBuf::begin_cpu_access and end_cpu_access. */
    std::span<std::byte> bytes() const { return bytes_; }

private:
    friend class DmaBuf;
    explicit DmaBufMapping(std::span<std::byte> bytes) : bytes_(bytes) {}
    std::span<std::byte> bytes_;
};

/**
 * Owns one descriptor of a DMA-BUF. Which memory it is tells inode(): descriptors of the same
 * buffer share it, in every process. May be used by several threads at once.
 */
class DmaBuf {
public:
    /** Takes the descriptor over. Fault::protocol if it is no DMA-BUF; it is closed then. */
    static Result<DmaBuf> adopt(UniqueFd fd);

    /** Borrowed. */
    int fd() const { return fd_.get(); }
    /** Gives the descriptor up; the caller owns it. */
    [[nodiscard]] UniqueFd take() && { return std::move(fd_); }
    /** In bytes; what was allocated, which can be more than was asked for. */
    size_t size() const { return size_; }
    ino_t inode() const { return inode_; }
    /** A second descriptor of the same buffer. */
    Result<DmaBuf> duplicate() const;

    /** Maps all of it. Fault::unsupported where the exporter has no mapping (tiled GPU memory). */
    Result<DmaBufMapping> map(BufferAccess access) const;

    /**
     * Brackets what the CPU does to a mapping. Beginning makes caches coherent and waits, without
     * limit, for the buffer's fences: look at export_sync_file() first where that matters.
     */
    Result<void> begin_cpu_access(BufferAccess access) const;
    Result<void> end_cpu_access(BufferAccess access) const;

    /**
     * The fences that `access` would have to wait for, as of now; already signalled if there are
     * none. Fault::unsupported before Linux 6.0.
     */
    Result<SyncFile> export_sync_file(BufferAccess access) const;
    /**
     * Puts a fence on the buffer: whoever honours implicit fences waits for it, as for an `access`
     * that is under way. The fence stays the caller's. Fault::unsupported before Linux 6.0.
     */
    Result<void> import_sync_file(const SyncFile& fence, BufferAccess access) const;

private:
    DmaBuf(UniqueFd fd, size_t size, ino_t inode)
        : fd_(std::move(fd)), size_(size), inode_(inode) {}
    UniqueFd fd_;
    size_t size_ = 0;
    ino_t inode_ = 0;
};

}  // namespace stepscope
