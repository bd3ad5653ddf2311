// SPDX-License-Identifier: LGPL-2.1-or-later
#define VK_USE_PLATFORM_WAYLAND_KHR
#define VK_USE_PLATFORM_XCB_KHR
#include <vulkan/vulkan.h>
#include <xcb/xcb.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "graphics.hpp"

namespace stepscope::testgame {

namespace {

std::unexpected<Error> vulkan_error(const char* what, VkResult result) {
    return fail(Fault::unsupported,
                std::string(what) + " failed with Vulkan error " + std::to_string(result));
}

#define TRY(call)                                             \
    if (const VkResult tried = (call); tried != VK_SUCCESS) { \
        return vulkan_error(#call, tried);                    \
    }

/** Copies each frame into an image of a swapchain; waits for the device after it. */
class VulkanGraphics final : public Graphics {
public:
    explicit VulkanGraphics(const NativeWindow& window) : native_(window) {}
    ~VulkanGraphics() override;
    Result<void> start(const Options& options);

protected:
    Result<void> resize(int width, int height) override;
    Result<void> present(const frame_code::Pixels& pixels) override;

private:
    Result<void> create_surface();
    Result<void> create_device();
    Result<void> create_staging(VkDeviceSize size);
    void drop_staging();
    Result<void> record(VkImage image);

    const NativeWindow native_;
    VkPresentModeKHR mode_ = VK_PRESENT_MODE_FIFO_KHR;
    VkInstance instance_ = nullptr;
    VkPhysicalDevice physical_ = nullptr;
    VkDevice device_ = nullptr;
    uint32_t family_ = 0;
    VkQueue queue_ = nullptr;
    VkSurfaceKHR surface_ = VK_NULL_HANDLE;
    VkSwapchainKHR swapchain_ = VK_NULL_HANDLE;
    std::vector<VkImage> images_;
    VkExtent2D extent_{};
    VkCommandPool pool_ = VK_NULL_HANDLE;
    VkCommandBuffer commands_ = nullptr;
    VkFence fence_ = VK_NULL_HANDLE;
    VkBuffer staging_ = VK_NULL_HANDLE;
    VkDeviceMemory memory_ = VK_NULL_HANDLE;
    void* mapped_ = nullptr;
};

VkPresentModeKHR mode_of(PresentMode mode) {
    switch (mode) {
        case PresentMode::mailbox:
            return VK_PRESENT_MODE_MAILBOX_KHR;
        case PresentMode::immediate:
            return VK_PRESENT_MODE_IMMEDIATE_KHR;
        case PresentMode::fifo:
            break;
    }
    return VK_PRESENT_MODE_FIFO_KHR;
}

Result<void> VulkanGraphics::create_surface() {
    if (native_.wayland != nullptr) {
        VkWaylandSurfaceCreateInfoKHR info{};
        info.sType = VK_STRUCTURE_TYPE_WAYLAND_SURFACE_CREATE_INFO_KHR;
        info.display = native_.wayland;
        info.surface = native_.surface;
        TRY(vkCreateWaylandSurfaceKHR(instance_, &info, nullptr, &surface_));
        return {};
    }
    VkXcbSurfaceCreateInfoKHR info{};
    info.sType = VK_STRUCTURE_TYPE_XCB_SURFACE_CREATE_INFO_KHR;
    info.connection = native_.x11;
    info.window = native_.window;
    TRY(vkCreateXcbSurfaceKHR(instance_, &info, nullptr, &surface_));
    return {};
}

Result<void> VulkanGraphics::create_device() {
    uint32_t count = 1;
    if (vkEnumeratePhysicalDevices(instance_, &count, &physical_) < 0 || count == 0) {
        return fail(Fault::unsupported, "there is no Vulkan driver");
    }
    std::array<VkQueueFamilyProperties, 16> families{};
    count = families.size();
    vkGetPhysicalDeviceQueueFamilyProperties(physical_, &count, families.data());
    for (family_ = 0; family_ < count; ++family_) {
        VkBool32 supported = VK_FALSE;
        vkGetPhysicalDeviceSurfaceSupportKHR(physical_, family_, surface_, &supported);
        if (supported != VK_FALSE && (families[family_].queueFlags & VK_QUEUE_GRAPHICS_BIT) != 0) {
            break;
        }
    }
    if (family_ == count) {
        return fail(Fault::unsupported, "no Vulkan queue can present to the window");
    }
    const float priority = 1;
    VkDeviceQueueCreateInfo queue{};
    queue.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO;
    queue.queueFamilyIndex = family_;
    queue.queueCount = 1;
    queue.pQueuePriorities = &priority;
    const char* extension = VK_KHR_SWAPCHAIN_EXTENSION_NAME;
    VkDeviceCreateInfo info{};
    info.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO;
    info.queueCreateInfoCount = 1;
    info.pQueueCreateInfos = &queue;
    info.enabledExtensionCount = 1;
    info.ppEnabledExtensionNames = &extension;
    TRY(vkCreateDevice(physical_, &info, nullptr, &device_));
    vkGetDeviceQueue(device_, family_, 0, &queue_);
    return {};
}

Result<void> VulkanGraphics::start(const Options& options) {
    mode_ = mode_of(options.present_mode);
    const std::array<const char*, 2> extensions = {VK_KHR_SURFACE_EXTENSION_NAME,
                                                   native_.wayland != nullptr
                                                       ? VK_KHR_WAYLAND_SURFACE_EXTENSION_NAME
                                                       : VK_KHR_XCB_SURFACE_EXTENSION_NAME};
    VkApplicationInfo application{};
    application.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO;
    application.apiVersion = VK_API_VERSION_1_1;
    VkInstanceCreateInfo info{};
    info.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO;
    info.pApplicationInfo = &application;
    info.enabledExtensionCount = extensions.size();
    info.ppEnabledExtensionNames = extensions.data();
    TRY(vkCreateInstance(&info, nullptr, &instance_));
    if (auto created = create_surface(); !created) {
        return created;
    }
    if (auto created = create_device(); !created) {
        return created;
    }
    std::array<VkPresentModeKHR, 16> modes{};
    uint32_t count = modes.size();
    vkGetPhysicalDeviceSurfacePresentModesKHR(physical_, surface_, &count, modes.data());
    if (std::find(modes.begin(), modes.begin() + count, mode_) == modes.begin() + count) {
        return fail(Fault::unsupported, "the surface does not have this --present-mode");
    }
    VkCommandPoolCreateInfo pool{};
    pool.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
    pool.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT;
    pool.queueFamilyIndex = family_;
    TRY(vkCreateCommandPool(device_, &pool, nullptr, &pool_));
    VkCommandBufferAllocateInfo commands{};
    commands.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
    commands.commandPool = pool_;
    commands.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
    commands.commandBufferCount = 1;
    TRY(vkAllocateCommandBuffers(device_, &commands, &commands_));
    VkFenceCreateInfo fence{};
    fence.sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO;
    TRY(vkCreateFence(device_, &fence, nullptr, &fence_));
    return {};
}

VulkanGraphics::~VulkanGraphics() {
    if (device_ != nullptr) {
        vkDeviceWaitIdle(device_);
        drop_staging();
        vkDestroyFence(device_, fence_, nullptr);
        vkDestroyCommandPool(device_, pool_, nullptr);
        vkDestroySwapchainKHR(device_, swapchain_, nullptr);
        vkDestroyDevice(device_, nullptr);
    }
    if (instance_ != nullptr) {
        vkDestroySurfaceKHR(instance_, surface_, nullptr);
        vkDestroyInstance(instance_, nullptr);
    }
}

void VulkanGraphics::drop_staging() {
    vkDestroyBuffer(device_, staging_, nullptr);
    vkFreeMemory(device_, memory_, nullptr);
    staging_ = VK_NULL_HANDLE;
    memory_ = VK_NULL_HANDLE;
}

Result<void> VulkanGraphics::create_staging(VkDeviceSize size) {
    drop_staging();
    VkBufferCreateInfo info{};
    info.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
    info.size = size;
    info.usage = VK_BUFFER_USAGE_TRANSFER_SRC_BIT;
    TRY(vkCreateBuffer(device_, &info, nullptr, &staging_));
    VkMemoryRequirements needed{};
    vkGetBufferMemoryRequirements(device_, staging_, &needed);
    VkPhysicalDeviceMemoryProperties memory{};
    vkGetPhysicalDeviceMemoryProperties(physical_, &memory);
    constexpr VkMemoryPropertyFlags kVisible =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    for (uint32_t type = 0; type < memory.memoryTypeCount; ++type) {
        if ((needed.memoryTypeBits >> type & 1U) == 0 ||
            (memory.memoryTypes[type].propertyFlags & kVisible) != kVisible) {
            continue;
        }
        VkMemoryAllocateInfo allocation{};
        allocation.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
        allocation.allocationSize = needed.size;
        allocation.memoryTypeIndex = type;
        TRY(vkAllocateMemory(device_, &allocation, nullptr, &memory_));
        TRY(vkBindBufferMemory(device_, staging_, memory_, 0));
        TRY(vkMapMemory(device_, memory_, 0, size, 0, &mapped_));
        return {};
    }
    return fail(Fault::unsupported, "Vulkan has no memory that can be written to");
}

Result<void> VulkanGraphics::resize(int width, int height) {
    vkDeviceWaitIdle(device_);
    VkSurfaceCapabilitiesKHR capabilities{};
    TRY(vkGetPhysicalDeviceSurfaceCapabilitiesKHR(physical_, surface_, &capabilities));
    extent_ = {static_cast<uint32_t>(width), static_cast<uint32_t>(height)};
    VkSwapchainCreateInfoKHR info{};
    info.sType = VK_STRUCTURE_TYPE_SWAPCHAIN_CREATE_INFO_KHR;
    info.surface = surface_;
    info.minImageCount = std::max(capabilities.minImageCount, 3U);
    info.imageFormat = VK_FORMAT_B8G8R8A8_UNORM;
    info.imageColorSpace = VK_COLOR_SPACE_SRGB_NONLINEAR_KHR;
    info.imageExtent = extent_;
    info.imageArrayLayers = 1;
    info.imageUsage = VK_IMAGE_USAGE_TRANSFER_DST_BIT;
    info.preTransform = capabilities.currentTransform;
    info.compositeAlpha = VK_COMPOSITE_ALPHA_OPAQUE_BIT_KHR;
    info.presentMode = mode_;
    info.oldSwapchain = swapchain_;
    VkSwapchainKHR made = VK_NULL_HANDLE;
    TRY(vkCreateSwapchainKHR(device_, &info, nullptr, &made));
    vkDestroySwapchainKHR(device_, swapchain_, nullptr);
    swapchain_ = made;
    uint32_t count = 0;
    vkGetSwapchainImagesKHR(device_, swapchain_, &count, nullptr);
    images_.resize(count);
    vkGetSwapchainImagesKHR(device_, swapchain_, &count, images_.data());
    return create_staging(VkDeviceSize{extent_.width} * extent_.height * sizeof(uint32_t));
}

Result<void> VulkanGraphics::record(VkImage image) {
    VkCommandBufferBeginInfo begin{};
    begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
    TRY(vkBeginCommandBuffer(commands_, &begin));
    VkImageMemoryBarrier barrier{};
    barrier.sType = VK_STRUCTURE_TYPE_IMAGE_MEMORY_BARRIER;
    barrier.dstAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
    barrier.newLayout = VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL;
    barrier.srcQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED;
    barrier.dstQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED;
    barrier.image = image;
    barrier.subresourceRange = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1};
    vkCmdPipelineBarrier(commands_, VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT,
                         VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 0, nullptr, 0, nullptr, 1, &barrier);
    VkBufferImageCopy copy{};
    copy.imageSubresource = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1};
    copy.imageExtent = {extent_.width, extent_.height, 1};
    vkCmdCopyBufferToImage(commands_, staging_, image, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL, 1,
                           &copy);
    barrier.srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
    barrier.dstAccessMask = 0;
    barrier.oldLayout = VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL;
    barrier.newLayout = VK_IMAGE_LAYOUT_PRESENT_SRC_KHR;
    vkCmdPipelineBarrier(commands_, VK_PIPELINE_STAGE_TRANSFER_BIT,
                         VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, 0, 0, nullptr, 0, nullptr, 1,
                         &barrier);
    TRY(vkEndCommandBuffer(commands_));
    return {};
}

Result<void> VulkanGraphics::present(const frame_code::Pixels& pixels) {
    uint32_t index = 0;
    VkResult result =
        vkAcquireNextImageKHR(device_, swapchain_, UINT64_MAX, VK_NULL_HANDLE, fence_, &index);
    if (result != VK_SUCCESS && result != VK_SUBOPTIMAL_KHR) {
        return result == VK_ERROR_OUT_OF_DATE_KHR ? resize(pixels.width, pixels.height)
                                                  : vulkan_error("vkAcquireNextImageKHR", result);
    }
    TRY(vkWaitForFences(device_, 1, &fence_, VK_TRUE, UINT64_MAX));
    TRY(vkResetFences(device_, 1, &fence_));
    std::memcpy(mapped_, pixels.data, pixels.stride * static_cast<size_t>(pixels.height));
    if (auto recorded = record(images_[index]); !recorded) {
        return recorded;
    }
    VkSubmitInfo submit{};
    submit.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO;
    submit.commandBufferCount = 1;
    submit.pCommandBuffers = &commands_;
    TRY(vkQueueSubmit(queue_, 1, &submit, fence_));
    TRY(vkWaitForFences(device_, 1, &fence_, VK_TRUE, UINT64_MAX));
    TRY(vkResetFences(device_, 1, &fence_));
    VkPresentInfoKHR info{};
    info.sType = VK_STRUCTURE_TYPE_PRESENT_INFO_KHR;
    info.swapchainCount = 1;
    info.pSwapchains = &swapchain_;
    info.pImageIndices = &index;
    result = vkQueuePresentKHR(queue_, &info);
    if (result < 0 && result != VK_ERROR_OUT_OF_DATE_KHR) {
        return vulkan_error("vkQueuePresentKHR", result);
    }
    return result == VK_ERROR_OUT_OF_DATE_KHR ? resize(pixels.width, pixels.height)
                                              : Result<void>{};
}

#undef TRY

}  // namespace

Result<std::unique_ptr<Graphics>> create_vulkan(const Options& options,
                                                const NativeWindow& window) {
    auto graphics = std::make_unique<VulkanGraphics>(window);
    if (auto started = graphics->start(options); !started) {
        return std::unexpected(started.error());
    }
    return graphics;
}

}  // namespace stepscope::testgame
