// SPDX-License-Identifier: LGPL-2.1-or-later
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <vulkan/vk_layer.h>
#include <vulkan/vulkan_core.h>

#include <initializer_list>
#include <type_traits>

#include "base/clock_page.hpp"
#include "present.hpp"

/**
 * The present gate of Vulkan, an implicit layer: a present is held by the clock library until the
 * next step begins. Where that is not loaded, everything passes through.
 *
 * Under X11 swapchains that wait for the display are made ones that don't: the X server keeps their
 * frames back until its next tick, which is the next step. The gate is the display that they wait
 * for. Under Wayland they are left alone: a frame goes out at once there.
 */
namespace {

using stepscope::clock::kPresentVulkan;

/** The clock library's side of the gate; nullptr where it is not loaded. */
struct Gate {
    decltype(&stepscope_clock_present_begin) begin = nullptr;
    decltype(&stepscope_clock_present_end) end = nullptr;
    decltype(&stepscope_clock_present_gate) closed = nullptr;
};

const Gate& gate() {
    static constinit Gate found;
    static constinit pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, [] {
        const auto find = [](auto& function, const char* name) {
            function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(
                dlsym(RTLD_DEFAULT, name));
        };
        find(found.begin, "stepscope_clock_present_begin");
        find(found.end, "stepscope_clock_present_end");
        find(found.closed, "stepscope_clock_present_gate");
    });
    return found;
}

bool gate_is_closed() {
    return gate().begin && gate().end && gate().closed && gate().closed() != 0;
}

/** What creates surfaces of X11; their descriptions are not looked at. */
using CreateSurface = VkResult(VKAPI_PTR*)(VkInstance, const void*, const VkAllocationCallbacks*,
                                           VkSurfaceKHR*);

/** What is next in line for an instance or a device. Objects of the loader begin with a pointer
 * that all of one instance or device have in common. */
struct Instance {
    void* key;
    PFN_vkGetInstanceProcAddr look_up;
    PFN_vkDestroyInstance destroy;
    PFN_vkGetPhysicalDeviceSurfacePresentModesKHR get_present_modes;
    PFN_vkDestroySurfaceKHR destroy_surface;
    CreateSurface create_xcb_surface;
    CreateSurface create_xlib_surface;
    Instance* next;
};

struct Device {
    void* key;
    VkPhysicalDevice physical;
    PFN_vkGetDeviceProcAddr look_up;
    PFN_vkDestroyDevice destroy;
    PFN_vkCreateSwapchainKHR create_swapchain;
    PFN_vkQueuePresentKHR present;
    Device* next;
};

constinit pthread_mutex_t lists_mutex = PTHREAD_MUTEX_INITIALIZER;
constinit Instance* instances = nullptr;
constinit Device* devices = nullptr;

constexpr uint32_t kX11Surfaces = 64;
constinit VkSurfaceKHR x11_surfaces[kX11Surfaces] = {};
constinit uint32_t next_x11_surface = 0;

class ListsLock {
public:
    ListsLock() { pthread_mutex_lock(&lists_mutex); }
    ~ListsLock() { pthread_mutex_unlock(&lists_mutex); }
    ListsLock(const ListsLock&) = delete;
    ListsLock& operator=(const ListsLock&) = delete;
};

template <typename Handle>
void* key_of(Handle handle) {
    return *reinterpret_cast<void**>(handle);
}

template <typename Entry>
void add(Entry*& list, const Entry& entry) {
    auto* added = static_cast<Entry*>(calloc(1, sizeof(Entry)));
    if (!added) {
        return;
    }
    *added = entry;
    const ListsLock lock;
    added->next = list;
    list = added;
}

/** A copy: others may leave the list meanwhile. With a null key where it is not known. */
template <typename Entry>
Entry find(Entry* const& list, void* key) {
    const ListsLock lock;
    for (const Entry* entry = list; entry; entry = entry->next) {
        if (entry->key == key) {
            return *entry;
        }
    }
    return {};
}

template <typename Entry>
Entry remove(Entry*& list, void* key) {
    Entry removed{};
    const ListsLock lock;
    for (Entry** link = &list; *link; link = &(*link)->next) {
        if ((*link)->key == key) {
            Entry* entry = *link;
            removed = *entry;
            *link = entry->next;
            free(entry);
            break;
        }
    }
    return removed;
}

template <typename Pointer>
Pointer as(PFN_vkVoidFunction function) {
    return reinterpret_cast<Pointer>(function);
}

/** The structure of the chain that says what is next in line. */
template <typename CreateInfo>
CreateInfo* find_link(const void* chain, VkStructureType type) {
    for (auto* info = static_cast<const VkBaseInStructure*>(chain); info; info = info->pNext) {
        auto* candidate = reinterpret_cast<const CreateInfo*>(info);
        if (info->sType == type && candidate->function == VK_LAYER_LINK_INFO) {
            return const_cast<CreateInfo*>(candidate);  // layers move its link on
        }
    }
    return nullptr;
}

VKAPI_ATTR VkResult VKAPI_CALL create_instance(const VkInstanceCreateInfo* info,
                                               const VkAllocationCallbacks* allocator,
                                               VkInstance* instance) {
    auto* link = find_link<VkLayerInstanceCreateInfo>(
        info->pNext, VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO);
    if (!link || !link->u.pLayerInfo) {
        return VK_ERROR_INITIALIZATION_FAILED;
    }
    const auto look_up = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    const auto create = as<PFN_vkCreateInstance>(look_up(nullptr, "vkCreateInstance"));
    if (!create) {
        return VK_ERROR_INITIALIZATION_FAILED;
    }
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    const VkResult result = create(info, allocator, instance);
    if (result == VK_SUCCESS) {
        const auto next = [&](const char* name) { return look_up(*instance, name); };
        add(instances, {.key = key_of(*instance),
                        .look_up = look_up,
                        .destroy = as<PFN_vkDestroyInstance>(next("vkDestroyInstance")),
                        .get_present_modes = as<PFN_vkGetPhysicalDeviceSurfacePresentModesKHR>(
                            next("vkGetPhysicalDeviceSurfacePresentModesKHR")),
                        .destroy_surface = as<PFN_vkDestroySurfaceKHR>(next("vkDestroySurfaceKHR")),
                        .create_xcb_surface = as<CreateSurface>(next("vkCreateXcbSurfaceKHR")),
                        .create_xlib_surface = as<CreateSurface>(next("vkCreateXlibSurfaceKHR")),
                        .next = nullptr});
    }
    return result;
}

VKAPI_ATTR void VKAPI_CALL destroy_instance(VkInstance instance,
                                            const VkAllocationCallbacks* allocator) {
    if (!instance) {
        return;
    }
    const Instance known = remove(instances, key_of(instance));
    if (known.destroy) {
        known.destroy(instance, allocator);
    }
}

VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice physical,
                                             const VkDeviceCreateInfo* info,
                                             const VkAllocationCallbacks* allocator,
                                             VkDevice* device) {
    auto* link = find_link<VkLayerDeviceCreateInfo>(info->pNext,
                                                    VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO);
    if (!link || !link->u.pLayerInfo) {
        return VK_ERROR_INITIALIZATION_FAILED;
    }
    const auto look_up_instance = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    const auto look_up = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
    const auto create = as<PFN_vkCreateDevice>(look_up_instance(nullptr, "vkCreateDevice"));
    if (!create) {
        return VK_ERROR_INITIALIZATION_FAILED;
    }
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    const VkResult result = create(physical, info, allocator, device);
    if (result == VK_SUCCESS) {
        const auto next = [&](const char* name) { return look_up(*device, name); };
        add(devices,
            {.key = key_of(*device),
             .physical = physical,
             .look_up = look_up,
             .destroy = as<PFN_vkDestroyDevice>(next("vkDestroyDevice")),
             .create_swapchain = as<PFN_vkCreateSwapchainKHR>(next("vkCreateSwapchainKHR")),
             .present = as<PFN_vkQueuePresentKHR>(next("vkQueuePresentKHR")),
             .next = nullptr});
    }
    return result;
}

VKAPI_ATTR void VKAPI_CALL destroy_device(VkDevice device, const VkAllocationCallbacks* allocator) {
    if (!device) {
        return;
    }
    const Device known = remove(devices, key_of(device));
    if (known.destroy) {
        known.destroy(device, allocator);
    }
}

VkResult create_x11_surface(CreateSurface create, VkInstance instance, const void* info,
                            const VkAllocationCallbacks* allocator, VkSurfaceKHR* surface) {
    if (!create) {
        return VK_ERROR_EXTENSION_NOT_PRESENT;
    }
    const VkResult result = create(instance, info, allocator, surface);
    if (result == VK_SUCCESS) {
        const ListsLock lock;
        x11_surfaces[next_x11_surface++ % kX11Surfaces] = *surface;
    }
    return result;
}

VKAPI_ATTR VkResult VKAPI_CALL create_xcb_surface(VkInstance instance, const void* info,
                                                  const VkAllocationCallbacks* allocator,
                                                  VkSurfaceKHR* surface) {
    return create_x11_surface(find(instances, key_of(instance)).create_xcb_surface, instance, info,
                              allocator, surface);
}

VKAPI_ATTR VkResult VKAPI_CALL create_xlib_surface(VkInstance instance, const void* info,
                                                   const VkAllocationCallbacks* allocator,
                                                   VkSurfaceKHR* surface) {
    return create_x11_surface(find(instances, key_of(instance)).create_xlib_surface, instance, info,
                              allocator, surface);
}

bool is_x11(VkSurfaceKHR surface) {
    const ListsLock lock;
    for (const VkSurfaceKHR known : x11_surfaces) {
        if (known == surface) {
            return true;
        }
    }
    return false;
}

VKAPI_ATTR void VKAPI_CALL destroy_surface(VkInstance instance, VkSurfaceKHR surface,
                                           const VkAllocationCallbacks* allocator) {
    {
        // The handle may be used again, for a surface of another kind.
        const ListsLock lock;
        for (VkSurfaceKHR& known : x11_surfaces) {
            known = known == surface ? VK_NULL_HANDLE : known;
        }
    }
    if (const auto destroy = find(instances, key_of(instance)).destroy_surface) {
        destroy(instance, surface, allocator);
    }
}

/** A mode that does not wait for the display, if the surface has one; else `wanted`. */
VkPresentModeKHR choose_mode(VkPhysicalDevice physical, VkSurfaceKHR surface,
                             VkPresentModeKHR wanted) {
    const auto get_modes = find(instances, key_of(physical)).get_present_modes;
    VkPresentModeKHR modes[16];
    uint32_t count = sizeof modes / sizeof *modes;
    if (!get_modes || get_modes(physical, surface, &count, modes) < 0) {
        return wanted;
    }
    for (const VkPresentModeKHR better :
         {VK_PRESENT_MODE_IMMEDIATE_KHR, VK_PRESENT_MODE_MAILBOX_KHR}) {
        for (uint32_t i = 0; i < count; ++i) {
            if (modes[i] == better) {
                return better;
            }
        }
    }
    return wanted;
}

/** The program has said between which modes it will change: ours may not be among them. */
bool names_modes(const void* chain) {
    for (auto* info = static_cast<const VkBaseInStructure*>(chain); info; info = info->pNext) {
        if (info->sType == VK_STRUCTURE_TYPE_SWAPCHAIN_PRESENT_MODES_CREATE_INFO_EXT) {
            return true;
        }
    }
    return false;
}

VKAPI_ATTR VkResult VKAPI_CALL create_swapchain(VkDevice device,
                                                const VkSwapchainCreateInfoKHR* info,
                                                const VkAllocationCallbacks* allocator,
                                                VkSwapchainKHR* swapchain) {
    const Device known = find(devices, key_of(device));
    if (!known.create_swapchain) {
        return VK_ERROR_EXTENSION_NOT_PRESENT;
    }
    VkSwapchainCreateInfoKHR changed = *info;
    const bool waits = info->presentMode == VK_PRESENT_MODE_FIFO_KHR ||
                       info->presentMode == VK_PRESENT_MODE_FIFO_RELAXED_KHR;
    if (waits && is_x11(info->surface) && !names_modes(info->pNext) && gate_is_closed()) {
        changed.presentMode = choose_mode(known.physical, info->surface, info->presentMode);
    }
    return known.create_swapchain(device, &changed, allocator, swapchain);
}

VKAPI_ATTR VkResult VKAPI_CALL queue_present(VkQueue queue, const VkPresentInfoKHR* info) {
    const Device known = find(devices, key_of(queue));
    if (!known.present) {
        return VK_ERROR_DEVICE_LOST;
    }
    if (!gate_is_closed()) {
        return known.present(queue, info);
    }
    constexpr uint32_t kMost = 16;
    uint64_t surfaces[kMost];
    const uint32_t count = info->swapchainCount < kMost ? info->swapchainCount : kMost;
    for (uint32_t i = 0; i < count; ++i) {
        surfaces[i] = __builtin_bit_cast(uint64_t, info->pSwapchains[i]);
    }
    gate().begin(surfaces, count);
    const VkResult result = known.present(queue, info);
    gate().end(surfaces, count, kPresentVulkan, result >= 0);
    return result;
}

VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device_proc(VkDevice device, const char* name);
VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance_proc(VkInstance instance, const char* name);

template <typename Function>
PFN_vkVoidFunction erased(Function* function) {
    return reinterpret_cast<PFN_vkVoidFunction>(function);
}

struct Intercepted {
    const char* name;
    PFN_vkVoidFunction function;
    bool of_device;     // found through vkGetDeviceProcAddr, too
    bool of_extension;  // there only where the program has asked for the extension
};

const Intercepted* find_ours(const char* name) {
    static const Intercepted all[] = {
        {"vkGetInstanceProcAddr", erased(get_instance_proc), false, false},
        {"vkCreateInstance", erased(create_instance), false, false},
        {"vkDestroyInstance", erased(destroy_instance), false, false},
        {"vkCreateDevice", erased(create_device), false, false},
        {"vkGetDeviceProcAddr", erased(get_device_proc), true, false},
        {"vkDestroyDevice", erased(destroy_device), true, false},
        {"vkCreateSwapchainKHR", erased(create_swapchain), true, true},
        {"vkQueuePresentKHR", erased(queue_present), true, true},
        {"vkCreateXcbSurfaceKHR", erased(create_xcb_surface), false, true},
        {"vkCreateXlibSurfaceKHR", erased(create_xlib_surface), false, true},
        {"vkDestroySurfaceKHR", erased(destroy_surface), false, true},
    };
    for (const Intercepted& entry : all) {
        if (strcmp(entry.name, name) == 0) {
            return &entry;
        }
    }
    return nullptr;
}

VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device_proc(VkDevice device, const char* name) {
    const Intercepted* ours = find_ours(name);
    if (ours && ours->of_device && !ours->of_extension) {
        return ours->function;
    }
    const auto look_up = find(devices, key_of(device)).look_up;
    const PFN_vkVoidFunction next = look_up ? look_up(device, name) : nullptr;
    return next && ours && ours->of_device ? ours->function : next;
}

// While the loader builds an instance it asks for vkCreateInstance with one that we don't know yet.
VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance_proc(VkInstance instance, const char* name) {
    const Intercepted* ours = find_ours(name);
    if (ours && !ours->of_extension) {
        return ours->function;
    }
    const auto look_up = instance ? find(instances, key_of(instance)).look_up : nullptr;
    const PFN_vkVoidFunction next = look_up ? look_up(instance, name) : nullptr;
    return next && ours ? ours->function : next;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) VKAPI_ATTR VkResult VKAPI_CALL
vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface* version) {
    constexpr uint32_t kInterface = 2;
    if (!version || version->sType != LAYER_NEGOTIATE_INTERFACE_STRUCT ||
        version->loaderLayerInterfaceVersion < kInterface) {
        return VK_ERROR_INITIALIZATION_FAILED;
    }
    version->loaderLayerInterfaceVersion = kInterface;
    version->pfnGetInstanceProcAddr = get_instance_proc;
    version->pfnGetDeviceProcAddr = get_device_proc;
    version->pfnGetPhysicalDeviceProcAddr = nullptr;
    return VK_SUCCESS;
}
