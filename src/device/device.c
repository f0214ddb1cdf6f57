/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device's life: made from a model and options, started, reset, stopped.
 */
#include "device.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/props.h"
#include "internal.h"

enum { GUEST_ERRORS_PER_SECOND = 10, WARNINGS_PER_SECOND = 10 };

/* Properties */

static int apply_props(struct ob_dev *dev, struct opts *opts, struct ob_error *err)
{
	struct props_objects objects = device_objects(dev);
	int rc = props_apply(device_common_props, &dev->ident, opts, NULL, err);

	return rc ? rc : props_apply(dev->model->props, dev->props, opts, &objects, err);
}

/* Making */

static int alloc_parts(struct ob_dev *dev, struct ob_error *err)
{
	/* One byte more, so that a size of 0 gives a pointer too. */
	dev->props = calloc(1, dev->model->props_size + 1);
	dev->state = calloc(1, dev->model->state_size + 1);
	dev->runtime = calloc(1, dev->model->runtime_size + 1);
	dev->dma = dma_space_new(UINT_MAX);
	if (!dev->props || !dev->state || !dev->runtime || !dev->dma ||
	    dma_set_budget(dev->dma, dev->env.dma_budget))
		return ob_error_set(err, -ENOMEM, "out of memory");
	dma_set_loop(dev->dma, dev->env.loop);
	return 0;
}

static int make_pci(struct ob_dev *dev, struct ob_error *err)
{
	struct ob_layout layout = dev->model->layout;
	int rc = device_choose_ident(dev, &layout.ident, err);

	if (!rc && dev->model->configure)
		rc = dev->model->configure(dev, &layout, err);
	if (rc)
		return rc;
	dev->pci = pci_new(&layout, err);
	if (!dev->pci)
		return -EINVAL;
	device_function_init(dev);
	return device_check_layout(dev->pci, err);
}

/* Frees whatever was made so far; the model was stopped. */
static void dispose(struct ob_dev *dev)
{
	ob_task_cancel(&dev->quiet_task);
	ob_task_cancel(&dev->bounce.turn);
	device_bus_remove(dev);
	device_doorbells_free(dev);
	device_memory_free(dev);
	if (dev->props) {
		device_parts_free(dev);
		device_release_objects(dev, dev->model->props, dev->props);
		props_free(dev->model->props, dev->props);
	}
	log_end(&dev->log);
	log_end(&dev->guest_log);
	pci_free(dev->pci);
	dma_space_free(dev->dma);
	free(dev->props);
	free(dev->state);
	free(dev->runtime);
	free(dev);
}

static int make(struct ob_dev *dev, struct opts *opts, struct ob_error *err)
{
	int rc = alloc_parts(dev, err);

	if (!rc)
		rc = apply_props(dev, opts, err);
	if (!rc)
		rc = make_pci(dev, err);
	if (!rc)
		rc = device_memory_alloc(dev, err);
	if (!rc)
		rc = device_doorbells_alloc(dev, err);
	if (!rc && dev->model->start)
		rc = dev->model->start(dev, err);
	return rc;
}

struct ob_dev *device_new(const struct ob_model *model, const char *id,
                          const struct device_env *env, struct opts *opts, struct ob_error *err)
{
	struct ob_dev *dev = calloc(1, sizeof(*dev));

	if (!dev) {
		ob_error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	dev->model = model;
	dev->env = *env;
	device_hold_init(dev);
	device_memory_init(dev);
	device_bounce_init(dev);
	strncpy(dev->id, id, sizeof(dev->id) - 1);
	log_init(&dev->log, env->log, WARNINGS_PER_SECOND, "%s", id);
	log_init(&dev->guest_log, env->log, GUEST_ERRORS_PER_SECOND, "%s", id);
	if (make(dev, opts, err)) {
		dispose(dev);
		return NULL;
	}
	return dev;
}

void device_free(struct ob_dev *dev)
{
	if (!dev)
		return;
	if (dev->attached)
		dev->attached_free(dev->attached);
	if (dev->model->stop)
		dev->model->stop(dev);
	dispose(dev);
}

/* Reset, and whose state it is */

void device_reset_by(struct ob_dev *dev, void (*reset)(struct pci *pci))
{
	log_trace(&dev->log, "is reset");
	reset(dev->pci);
	device_memory_reset(dev);
	device_doorbells_reset(dev);
	dev->failure[0] = '\0';
	dev->outdated = false;
	dev->owned = false;
	dev->model->reset(dev);
	device_follow_function(dev);
}

void device_reset(struct ob_dev *dev)
{
	device_reset_by(dev, pci_reset);
}

void device_set_owner(struct ob_dev *dev, const struct device_owner *owner)
{
	dev->owner = *owner;
	dev->owned = true;
}

const struct device_owner *device_owner(const struct ob_dev *dev)
{
	return dev->owned ? &dev->owner : NULL;
}

void device_set_outdated(struct ob_dev *dev)
{
	dev->outdated = true;
}

bool device_is_outdated(const struct ob_dev *dev)
{
	return dev->outdated;
}

/* What a session and a server ask */

void device_revoke(struct ob_dev *dev)
{
	device_doorbells_revoke(dev);
	device_memory_revoke(dev);
}

int device_resize_block(struct ob_dev *dev, struct ob_block *block, uint64_t size,
                        struct ob_error *err)
{
	if (!dev->model->resize)
		return ob_error_set(err, -ENOTSUP,
		                    "device '%s': a %s can't be told that its drive changes its "
		                    "size",
		                    dev->id, dev->model->name);
	return dev->model->resize(dev, block, size, err);
}

const char *device_failure(const struct ob_dev *dev)
{
	return dev->failure[0] ? dev->failure : NULL;
}

const struct ob_model *device_model(const struct ob_dev *dev)
{
	return dev->model;
}

struct pci *device_pci(struct ob_dev *dev)
{
	return dev->pci;
}

struct dma_space *device_dma(struct ob_dev *dev)
{
	return dev->dma;
}

struct log *device_log(struct ob_dev *dev)
{
	return &dev->log;
}

struct ob_block *device_drive(const struct ob_dev *dev, unsigned number)
{
	for (const struct ob_prop *prop = dev->model->props; prop && prop->name; prop++) {
		const struct ob_block_list *list =
			(const void *)((const char *)dev->props + prop->offset);

		if (prop->type != OB_PROP_BLOCKS)
			continue;
		if (number < list->count)
			return list->nodes[number];
		number -= list->count;
	}
	return device_parts_drive(dev, number);
}

void device_attach(struct ob_dev *dev, void *object, void (*free_object)(void *object),
                   bool (*needs_parts)(const void *object))
{
	dev->attached = object;
	dev->attached_free = free_object;
	dev->attached_needs_parts = needs_parts;
}

bool device_needs_parts(const struct ob_dev *dev)
{
	return dev->attached && dev->attached_needs_parts(dev->attached);
}

void *device_attached(const struct ob_dev *dev)
{
	return dev->attached;
}
