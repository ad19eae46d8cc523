package main

import (
	"context"
	"log/slog"
	"slices"
)

// lateHandler formats the values that a logger carries when a line is written, and not when they are added: each pass gets
// a logger of its own, and most passes write no line.
type lateHandler struct {
	inner slog.Handler
	attrs []slog.Attr
}

// Enabled reports whether lines of a level are written.
func (h lateHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.inner.Enabled(ctx, level)
}

// Handle writes one line.
func (h lateHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.formatted().Handle(ctx, r)
}

// WithAttrs returns a handler that adds values to each line.
func (h lateHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return lateHandler{inner: h.inner, attrs: append(slices.Clip(h.attrs), attrs...)}
}

// WithGroup returns a handler that puts what is added from now on into a group.
func (h lateHandler) WithGroup(name string) slog.Handler {
	return lateHandler{inner: h.formatted().WithGroup(name)}
}

func (h lateHandler) formatted() slog.Handler {
	if len(h.attrs) == 0 {
		return h.inner
	}
	return h.inner.WithAttrs(h.attrs)
}
