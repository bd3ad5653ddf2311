// SPDX-License-Identifier: LGPL-2.1-or-later
/**
 * What the Vulkan layer is tested with where there is no Vulkan: `layer_program LAYER` plays the
 * loader before it and the driver behind it, and a game that shows frames. Prints lines as
 * clock_program does.
 */
#include <dlfcn.h>
#include <vulkan/vk_layer.h>
#include <vulkan/vulkan_core.h>

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <initializer_list>

namespace {

/** Objects that are dispatched by begin with a pointer that one instance or device has in common.
 */
struct Object {
    void* key;
};

Object instance_object{&instance_object};
Object physical_object{&instance_object};
Object device_object{&device_object};
Object queue_object{&device_object};

// Handles that differ in their upper half alone.
constexpr uint64_t kX11Surface = 0x1'0000'0001;
constexpr uint64_t kOtherSurface = 0x2'0000'0001;

VkPresentModeKHR asked_mode = VK_PRESENT_MODE_MAX_ENUM_KHR;
int presented = 0;

template <typename Handle>
Handle handle(uint64_t number) {
    return __builtin_bit_cast(Handle, number);
}

VKAPI_ATTR VkResult VKAPI_CALL create_instance(const VkInstanceCreateInfo*,
                                               const VkAllocationCallbacks*, VkInstance* instance) {
    *instance = reinterpret_cast<VkInstance>(&instance_object);
    return VK_SUCCESS;
}

VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice, const VkDeviceCreateInfo*,
                                             const VkAllocationCallbacks*, VkDevice* device) {
    *device = reinterpret_cast<VkDevice>(&device_object);
    return VK_SUCCESS;
}

VKAPI_ATTR VkResult VKAPI_CALL create_xcb_surface(VkInstance, const void*,
                                                  const VkAllocationCallbacks*,
                                                  VkSurfaceKHR* surface) {
    *surface = handle<VkSurfaceKHR>(kX11Surface);
    return VK_SUCCESS;
}

VKAPI_ATTR VkResult VKAPI_CALL get_present_modes(VkPhysicalDevice, VkSurfaceKHR, uint32_t* count,
                                                 VkPresentModeKHR* modes) {
    *count = 2;
    modes[0] = VK_PRESENT_MODE_FIFO_KHR;
    modes[1] = VK_PRESENT_MODE_IMMEDIATE_KHR;
    return VK_SUCCESS;
}

VKAPI_ATTR VkResult VKAPI_CALL create_swapchain(VkDevice, const VkSwapchainCreateInfoKHR* info,
                                                const VkAllocationCallbacks*,
                                                VkSwapchainKHR* swapchain) {
    asked_mode = info->presentMode;
    *swapchain = handle<VkSwapchainKHR>(0x3'0000'0001);
    return VK_SUCCESS;
}

VKAPI_ATTR VkResult VKAPI_CALL queue_present(VkQueue, const VkPresentInfoKHR*) {
    ++presented;
    return VK_SUCCESS;
}

template <typename Function>
PFN_vkVoidFunction if_named(const char* wanted, const char* name, Function* function) {
    return std::strcmp(wanted, name) == 0 ? reinterpret_cast<PFN_vkVoidFunction>(function)
                                          : nullptr;
}

PFN_vkVoidFunction find(const char* name) {
    for (const PFN_vkVoidFunction found :
         {if_named(name, "vkCreateInstance", create_instance),
          if_named(name, "vkCreateDevice", create_device),
          if_named(name, "vkCreateXcbSurfaceKHR", create_xcb_surface),
          if_named(name, "vkGetPhysicalDeviceSurfacePresentModesKHR", get_present_modes),
          if_named(name, "vkCreateSwapchainKHR", create_swapchain),
          if_named(name, "vkQueuePresentKHR", queue_present)}) {
        if (found) {
            return found;
        }
    }
    return nullptr;
}

VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL of_instance(VkInstance, const char* name) {
    return find(name);
}

VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL of_device(VkDevice, const char* name) {
    return find(name);
}

int64_t monotonic_ns() {
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

void report(const char* name, long result, int64_t value) {
    std::printf("%s %ld %" PRId64 "\n", name, result, value);
}

}  // namespace

int main(int argc, char** argv) {
    void* library = argc == 2 ? ::dlopen(argv[1], RTLD_NOW) : nullptr;
    if (!library) {
        std::fprintf(stderr, "layer_program: %s\n", argc == 2 ? ::dlerror() : "LAYER is missing");
        return 2;
    }
    const auto negotiate = reinterpret_cast<PFN_vkNegotiateLoaderLayerInterfaceVersion>(
        ::dlsym(library, "vkNegotiateLoaderLayerInterfaceVersion"));
    VkNegotiateLayerInterface interface{};
    interface.sType = LAYER_NEGOTIATE_INTERFACE_STRUCT;
    interface.loaderLayerInterfaceVersion = 2;
    if (!negotiate || negotiate(&interface) != VK_SUCCESS) {
        std::fprintf(stderr, "layer_program: the layer does not know the loader's interface\n");
        return 2;
    }

    VkLayerInstanceLink instance_link{nullptr, of_instance, nullptr};
    VkLayerInstanceCreateInfo instance_chain{};
    instance_chain.sType = VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO;
    instance_chain.function = VK_LAYER_LINK_INFO;
    instance_chain.u.pLayerInfo = &instance_link;
    VkInstanceCreateInfo instance_info{};
    instance_info.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO;
    instance_info.pNext = &instance_chain;
    VkInstance instance = nullptr;
    const auto instance_function = [&]<typename Function>(const char* name, Function& function) {
        function = reinterpret_cast<Function>(interface.pfnGetInstanceProcAddr(instance, name));
    };
    PFN_vkCreateInstance make_instance = nullptr;
    instance_function("vkCreateInstance", make_instance);
    report("instance", make_instance(&instance_info, nullptr, &instance), 0);

    VkLayerDeviceLink device_link{nullptr, of_instance, of_device};
    VkLayerDeviceCreateInfo device_chain{};
    device_chain.sType = VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO;
    device_chain.function = VK_LAYER_LINK_INFO;
    device_chain.u.pLayerInfo = &device_link;
    VkDeviceCreateInfo device_info{};
    device_info.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO;
    device_info.pNext = &device_chain;
    VkDevice device = nullptr;
    PFN_vkCreateDevice make_device = nullptr;
    instance_function("vkCreateDevice", make_device);
    report("device",
           make_device(reinterpret_cast<VkPhysicalDevice>(&physical_object), &device_info, nullptr,
                       &device),
           0);

    // A swapchain for each kind of surface; what the driver is asked for.
    VkResult(VKAPI_PTR * make_surface)(VkInstance, const void*, const VkAllocationCallbacks*,
                                       VkSurfaceKHR*) = nullptr;
    instance_function("vkCreateXcbSurfaceKHR", make_surface);
    VkSurfaceKHR surface = VK_NULL_HANDLE;
    make_surface(instance, nullptr, nullptr, &surface);
    const auto make_swapchain = reinterpret_cast<PFN_vkCreateSwapchainKHR>(
        interface.pfnGetDeviceProcAddr(device, "vkCreateSwapchainKHR"));
    VkSwapchainCreateInfoKHR swapchain_info{};
    swapchain_info.sType = VK_STRUCTURE_TYPE_SWAPCHAIN_CREATE_INFO_KHR;
    swapchain_info.presentMode = VK_PRESENT_MODE_FIFO_KHR;
    swapchain_info.surface = handle<VkSurfaceKHR>(kOtherSurface);
    VkSwapchainKHR swapchain = VK_NULL_HANDLE;
    make_swapchain(device, &swapchain_info, nullptr, &swapchain);
    report("wayland", asked_mode, 0);
    swapchain_info.surface = surface;
    make_swapchain(device, &swapchain_info, nullptr, &swapchain);
    report("x11", asked_mode, 0);

    const auto present = reinterpret_cast<PFN_vkQueuePresentKHR>(
        interface.pfnGetDeviceProcAddr(device, "vkQueuePresentKHR"));
    VkPresentInfoKHR frame{};
    frame.sType = VK_STRUCTURE_TYPE_PRESENT_INFO_KHR;
    frame.swapchainCount = 1;
    frame.pSwapchains = &swapchain;
    for (int i = 0; i < 5; ++i) {
        report("frame", presented, monotonic_ns());
        std::fflush(stdout);
        present(reinterpret_cast<VkQueue>(&queue_object), &frame);
    }
    return 0;
}
