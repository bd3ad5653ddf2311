// SPDX-License-Identifier: LGPL-2.1-or-later
#include "dmabuf.hpp"

#include <linux/dma-buf.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "restarting_ioctl.hpp"

namespace stepscope {
namespace {

uint32_t sync_flags(BufferAccess access) {
    switch (access) {
        case BufferAccess::read:
            return DMA_BUF_SYNC_READ;
        case BufferAccess::write:
            return DMA_BUF_SYNC_WRITE;
        case BufferAccess::read_write:
            break;
    }
    return DMA_BUF_SYNC_RW;
}

int protection(BufferAccess access) {
    switch (access) {
        case BufferAccess::read:
            return PROT_READ;
        case BufferAccess::write:
            return PROT_WRITE;
        case BufferAccess::read_write:
            break;
    }
    return PROT_READ | PROT_WRITE;
}

Result<void> sync(int fd, uint64_t flags) {
    dma_buf_sync argument{.flags = flags};
    if (restarting_ioctl(fd, DMA_BUF_IOCTL_SYNC, &argument) < 0) {
        return fail_errno("can't prepare a DMA-BUF for the CPU");
    }
    return {};
}

std::unexpected<Error> fence_ioctl_failed(const char* what) {
    if (errno == ENOTTY) {
        return fail(Fault::unsupported,
                    std::string(what) + ": this kernel can't; Linux 6.0 or newer is needed");
    }
    return fail_errno(what);
}

}  // namespace

DmaBufMapping::~DmaBufMapping() {
    if (!bytes_.empty()) {
        ::munmap(bytes_.data(), bytes_.size());
    }
}

Result<DmaBuf> DmaBuf::adopt(UniqueFd fd) {
    struct statfs filesystem{};
    if (::fstatfs(fd.get(), &filesystem) < 0) {
        return fail_errno("can't look at what should be a DMA-BUF");
    }
    if (filesystem.f_type != DMA_BUF_MAGIC) {
        return fail(Fault::protocol, "expected a DMA-BUF, got another kind of file");
    }
    struct stat status{};
    if (::fstat(fd.get(), &status) < 0) {
        return fail_errno("can't look at a DMA-BUF");
    }
    // st_size is 0 for these; the end is where the size can be read.
    const off_t end = ::lseek(fd.get(), 0, SEEK_END);
    if (end < 0) {
        return fail_errno("can't find out the size of a DMA-BUF");
    }
    ::lseek(fd.get(), 0, SEEK_SET);
    return DmaBuf(std::move(fd), static_cast<size_t>(end), status.st_ino);
}

Result<DmaBuf> DmaBuf::duplicate() const {
    UniqueFd copy = fd_.duplicate();
    if (!copy) {
        return fail_errno("can't duplicate a DMA-BUF");
    }
    return DmaBuf(std::move(copy), size_, inode_);
}

Result<DmaBufMapping> DmaBuf::map(BufferAccess access) const {
    void* address = ::mmap(nullptr, size_, protection(access), MAP_SHARED, fd(), 0);
    if (address == MAP_FAILED) {
        const int error = errno;
        auto failed = fail_errno("can't map a DMA-BUF", error);
        if (error == EINVAL || error == ENODEV || error == EOPNOTSUPP || error == ENXIO) {
            failed.error().fault = Fault::unsupported;
        }
        return failed;
    }
    return DmaBufMapping({static_cast<std::byte*>(address), size_});
}

Result<void> DmaBuf::begin_cpu_access(BufferAccess access) const {
    return sync(fd(), DMA_BUF_SYNC_START | sync_flags(access));
}

Result<void> DmaBuf::end_cpu_access(BufferAccess access) const {
    return sync(fd(), DMA_BUF_SYNC_END | sync_flags(access));
}

Result<SyncFile> DmaBuf::export_sync_file(BufferAccess access) const {
    dma_buf_export_sync_file argument{.flags = sync_flags(access), .fd = -1};
    if (restarting_ioctl(fd(), DMA_BUF_IOCTL_EXPORT_SYNC_FILE, &argument) < 0) {
        return fence_ioctl_failed("can't take the fences out of a DMA-BUF");
    }
    return SyncFile::adopt(UniqueFd(argument.fd));
}

Result<void> DmaBuf::import_sync_file(const SyncFile& fence, BufferAccess access) const {
    dma_buf_import_sync_file argument{.flags = sync_flags(access), .fd = fence.fd()};
    if (restarting_ioctl(fd(), DMA_BUF_IOCTL_IMPORT_SYNC_FILE, &argument) < 0) {
        return fence_ioctl_failed("can't put a fence on a DMA-BUF");
    }
    return {};
}

}  // namespace stepscope
