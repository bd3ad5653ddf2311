// SPDX-License-Identifier: LGPL-2.1-or-later

/**
 * SECTION:provider-steamdeviceprovider
 * @title: steamdeviceprovider
 * @short_description: the installed Steam titles, as sources that can be created
 *
 * Lists what can be started, as `gst-device-monitor-1.0 Source/Video` shows it. It looks at the
 * Steam libraries when it is asked and does not watch them.
 *
 * Since: 0.1
 */

#include "gststeamdeviceprovider.h"

#include "gst/gst_ptr.hpp"
#include "gst/picture_caps.hpp"
#include "steam/steam_library.hpp"

using namespace stepscope;

struct _GstSteamDevice {
    GstDevice parent;

    guint64 app_id;
};

struct _GstSteamDeviceProvider {
    GstDeviceProvider parent;
};

G_DEFINE_FINAL_TYPE(GstSteamDevice, gst_steam_device, GST_TYPE_DEVICE)
G_DEFINE_FINAL_TYPE(GstSteamDeviceProvider, gst_steam_device_provider, GST_TYPE_DEVICE_PROVIDER)
GST_DEVICE_PROVIDER_REGISTER_DEFINE(steamdeviceprovider, "steamdeviceprovider", GST_RANK_PRIMARY,
                                    GST_TYPE_STEAM_DEVICE_PROVIDER)

static GstElement* gst_steam_device_create_element(GstDevice* device, const gchar* name) {
    GstElement* element = gst_element_factory_make("steamlaunchsrc", name);
    if (element != nullptr) {
        g_object_set(element, "app-id", GST_STEAM_DEVICE(device)->app_id, nullptr);
    }
    return element;
}

static gboolean gst_steam_device_reconfigure_element(GstDevice* device, GstElement* element) {
    GstElementFactory* factory = gst_element_get_factory(element);
    if (factory == nullptr || !g_str_equal(GST_OBJECT_NAME(factory), "steamlaunchsrc")) {
        return FALSE;
    }
    g_object_set(element, "app-id", GST_STEAM_DEVICE(device)->app_id, nullptr);
    return TRUE;
}

static void gst_steam_device_class_init(GstSteamDeviceClass* klass) {
    auto* device_class = GST_DEVICE_CLASS(klass);
    device_class->create_element = GST_DEBUG_FUNCPTR(gst_steam_device_create_element);
    device_class->reconfigure_element = GST_DEBUG_FUNCPTR(gst_steam_device_reconfigure_element);
}

static void gst_steam_device_init(GstSteamDevice* /*self*/) {}

static GstDevice* make_device(const steam::SteamTitle& title) {
    GstPtr<GstCaps> caps = picture_template_caps();
    const std::string name = title.label();
    const std::string state(steam::to_string(title.state));
    const std::string runtime(steam::to_string(title.runtime));
    GstPtr<GstStructure> facts(gst_structure_new(
        "steam-title", "app-id", G_TYPE_UINT64, static_cast<guint64>(title.app_id), "title",
        G_TYPE_STRING, title.name.c_str(), "state", G_TYPE_STRING, state.c_str(), "build-id",
        G_TYPE_UINT64, title.manifest.build_id, "runtime", G_TYPE_STRING, runtime.c_str(),
        "install-path", G_TYPE_STRING, title.install_path.c_str(), nullptr));
    auto* device = static_cast<GstSteamDevice*>(
        g_object_new(GST_TYPE_STEAM_DEVICE, "display-name", name.c_str(), "caps", caps.get(),
                     "device-class", "Source/Video", "properties", facts.get(), nullptr));
    device->app_id = title.app_id;
    return GST_DEVICE(device);
}

/** What a person can mean to start, whether or not something stands in the way right now. */
static bool is_listed(const steam::SteamTitle& title) {
    using steam::TitleState;
    return !title.tool && !title.name.empty() && title.state != TitleState::not_installed &&
           title.state != TitleState::uninstalling && title.state != TitleState::disk_missing &&
           title.state != TitleState::files_missing;
}

static GList* gst_steam_device_provider_probe(GstDeviceProvider* /*provider*/) {
    auto libraries = steam::load_libraries(steam::SteamEnvironment::from_process());
    GList* devices = nullptr;
    if (!libraries) {
        return devices;  // no Steam here
    }
    for (const auto& library : *libraries) {
        for (const auto& title : library.titles) {
            if (is_listed(title)) {
                devices = g_list_prepend(devices, make_device(title));
            }
        }
    }
    return g_list_reverse(devices);
}

static void gst_steam_device_provider_class_init(GstSteamDeviceProviderClass* klass) {
    auto* provider_class = GST_DEVICE_PROVIDER_CLASS(klass);
    provider_class->probe = GST_DEBUG_FUNCPTR(gst_steam_device_provider_probe);
    gst_device_provider_class_set_static_metadata(
        provider_class, "Steam device provider", "Source/Video",
        "Lists installed Steam titles as sources", "Stepscope developers");
}

static void gst_steam_device_provider_init(GstSteamDeviceProvider* /*self*/) {}
