// SPDX-License-Identifier: LGPL-2.1-or-later
#include "executable.hpp"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cstring>
#include <format>
#include <optional>
#include <string_view>
#include <vector>

#include "unique_fd.hpp"

namespace stepscope {

namespace {

constexpr size_t kMaxHeaders = 4096;
constexpr size_t kMaxNames = 1 << 20;

/** Programs come in two word sizes. `kMachine` is which of them runs here. */
struct Elf64 {
    using Header = Elf64_Ehdr;
    using Segment = Elf64_Phdr;
    using Section = Elf64_Shdr;
#if defined(__x86_64__)
    static constexpr Elf64_Half kMachine = EM_X86_64;
#elif defined(__aarch64__)
    static constexpr Elf64_Half kMachine = EM_AARCH64;
#else
#error "the clock library knows x86-64 and AArch64"
#endif
};

struct Elf32 {
    using Header = Elf32_Ehdr;
    using Segment = Elf32_Phdr;
    using Section = Elf32_Shdr;
#if defined(__x86_64__)
    static constexpr Elf32_Half kMachine = EM_386;
#else
    static constexpr Elf32_Half kMachine = EM_NONE;
#endif
};

bool read_at(int fd, uint64_t offset, void* buffer, size_t size) {
    return offset <= INT64_MAX &&
           ::pread(fd, buffer, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
}

std::string read_text(int fd, uint64_t offset, uint64_t size) {
    std::string text(std::min<uint64_t>(size, 4096), '\0');
    if (!read_at(fd, offset, text.data(), text.size())) {
        return {};
    }
    return text.c_str();
}

/** The Go linker always leaves one of these sections. */
template <typename Elf>
bool has_go_section(int fd, const typename Elf::Header& header) {
    using Section = Elf::Section;
    if (header.e_shnum == 0 || header.e_shnum > kMaxHeaders ||
        header.e_shentsize != sizeof(Section) || header.e_shstrndx >= header.e_shnum) {
        return false;
    }
    std::vector<Section> sections(header.e_shnum);
    if (!read_at(fd, header.e_shoff, sections.data(), sections.size() * sizeof(Section))) {
        return false;
    }
    const Section& names = sections[header.e_shstrndx];
    if (names.sh_size > kMaxNames) {
        return false;
    }
    std::string text(names.sh_size + 1, '\0');
    if (!read_at(fd, names.sh_offset, text.data(), names.sh_size)) {
        return false;
    }
    for (const Section& section : sections) {
        if (section.sh_name >= names.sh_size) {
            continue;
        }
        const std::string_view name = text.c_str() + section.sh_name;
        if (name == ".gopclntab" || name == ".go.buildinfo" || name == ".note.go.buildid") {
            return true;
        }
    }
    return false;
}

/** The dynamic loader's path, if there is one. */
template <typename Elf>
std::optional<std::string> find_interpreter(int fd, const typename Elf::Header& header) {
    using Segment = Elf::Segment;
    if (header.e_phnum > kMaxHeaders || header.e_phentsize != sizeof(Segment)) {
        return std::nullopt;
    }
    std::vector<Segment> segments(header.e_phnum);
    if (!read_at(fd, header.e_phoff, segments.data(), segments.size() * sizeof(Segment))) {
        return std::nullopt;
    }
    for (const Segment& segment : segments) {
        if (segment.p_type == PT_INTERP) {
            return read_text(fd, segment.p_offset, segment.p_filesz);
        }
    }
    return std::nullopt;
}

/** What is the same for both sizes. */
template <typename Elf>
void inspect_elf(int fd, const std::string& path, mode_t mode, ExecutableInfo& info) {
    using Kind = ExecutableInfo::Kind;
    typename Elf::Header header{};
    constexpr unsigned char kOrder =
        std::endian::native == std::endian::little ? ELFDATA2LSB : ELFDATA2MSB;
    if (!read_at(fd, 0, &header, sizeof header) || header.e_ident[EI_DATA] != kOrder ||
        header.e_machine != Elf::kMachine) {
        info.kind = Kind::foreign;
        info.message = std::format("'{}' is a program for another machine", path);
        return;
    }
    const auto interpreter = find_interpreter<Elf>(fd, header);
    info.interpreter = interpreter.value_or("");
    if (has_go_section<Elf>(fd, header)) {
        info.kind = Kind::go;
        info.message = std::format(
            "'{}' is a Go program: it asks the kernel for the time itself and will run on real "
            "time",
            path);
    } else if (!interpreter) {
        info.kind = Kind::static_elf;
        info.message = std::format(
            "'{}' is statically linked: the clock library can't be loaded, it will run on real "
            "time",
            path);
    } else if (mode & (S_ISUID | S_ISGID)) {
        info.kind = Kind::setuid;
        info.message = std::format(
            "'{}' is set-user-ID or set-group-ID: the loader ignores LD_PRELOAD, it will run on "
            "real time; start a copy without that bit",
            path);
    } else {
        info.kind = Kind::dynamic_elf;
    }
}

}  // namespace

Result<ExecutableInfo> inspect_executable(const std::string& path, bool has_library_32) {
    UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file) {
        return fail_errno(std::format("can't read the program '{}'", path));
    }
    struct stat status{};
    if (::fstat(file.get(), &status) != 0) {
        return fail_errno(std::format("can't inspect the program '{}'", path));
    }
    if (!S_ISREG(status.st_mode)) {
        return fail(Fault::usage, std::format("'{}' is not a file; give the program itself", path));
    }
    using Kind = ExecutableInfo::Kind;
    ExecutableInfo info;
    unsigned char ident[EI_NIDENT] = {};
    const ssize_t size = ::pread(file.get(), ident, sizeof ident, 0);
    if (size >= 2 && ident[0] == '#' && ident[1] == '!') {
        std::string line = read_text(
            file.get(), 2, std::min<uint64_t>(static_cast<uint64_t>(status.st_size) - 2, 256));
        line.resize(std::min(line.find('\n'), line.size()));
        const size_t start = line.find_first_not_of(" \t");
        if (start != std::string::npos) {
            info.interpreter = line.substr(start, line.find_first_of(" \t", start) - start);
        }
        info.kind = Kind::script;
        info.message = std::format(
            "'{}' is a script for {}: the clock is in whatever that starts, if it is dynamic", path,
            info.interpreter);
        return info;
    }
    if (size < EI_NIDENT || std::memcmp(ident, ELFMAG, SELFMAG) != 0) {
        info.message = std::format("'{}' is neither an ELF program nor a script", path);
        return info;
    }
    if (ident[EI_CLASS] != ELFCLASS32) {
        inspect_elf<Elf64>(file.get(), path, status.st_mode, info);
        return info;
    }
    inspect_elf<Elf32>(file.get(), path, status.st_mode, info);
    if (info.kind == Kind::dynamic_elf && !has_library_32) {
        info.kind = Kind::elf_32;
        info.message = std::format(
            "'{}' is a 32-bit program, and the clock library for those is missing: it will run on "
            "real "
            "time; build Stepscope where the compiler can build for 32 bits (Debian: g++-multilib)",
            path);
    }
    return info;
}

}  // namespace stepscope
