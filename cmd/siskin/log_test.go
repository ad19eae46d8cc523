package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"
	"testing/slogtest"
)

func TestLateHandler(t *testing.T) {
	var out bytes.Buffer
	if err := slogtest.TestHandler(lateHandler{inner: slog.NewJSONHandler(&out, nil)}, func() []map[string]any {
		var lines []map[string]any
		for raw := range bytes.SplitSeq(bytes.TrimSpace(out.Bytes()), []byte("\n")) {
			line := map[string]any{}
			if err := json.Unmarshal(raw, &line); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, line)
		}
		return lines
	}); err != nil {
		t.Error(err)
	}
}

// Two loggers made from one do not write into each other's values.
func TestLateHandlersShareNothing(t *testing.T) {
	var out bytes.Buffer
	base := slog.New(lateHandler{inner: slog.NewJSONHandler(&out, nil)}).With("a", 1).With("b", 2).With("c", 3)
	first, second := base.With("who", "first"), base.With("who", "second")
	for want, l := range map[string]*slog.Logger{"first": first, "second": second} {
		out.Reset()
		l.Info("hello")
		line := map[string]any{}
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if line["who"] != want {
			t.Errorf("who is %v, want %s", line["who"], want)
		}
	}
}
