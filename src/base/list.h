/* SPDX-License-Identifier: BSD-3-Clause */
/* A doubly linked ring, embedded in its elements. An element in no list points to itself. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *list)
{
	list->next = list->prev = list;
}

static inline bool list_empty(const struct list *list)
{
	return list->next == list;
}

static inline void list_append(struct list *list, struct list *element)
{
	element->prev = list->prev;
	element->next = list;
	list->prev->next = element;
	list->prev = element;
}

static inline void list_remove(struct list *element)
{
	element->prev->next = element->next;
	element->next->prev = element->prev;
	list_init(element);
}

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* The element that follows is looked up before the body runs: the body may remove its own. */
#define list_for_each(position, head, type, member)                                                \
	for (struct list *it_ = (head)->next, *next_ = it_->next;                                  \
	     it_ != (head) && ((position) = container_of(it_, type, member), true);                \
	     it_ = next_, next_ = it_->next)

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#endif
