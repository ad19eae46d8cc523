package tree

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func file(content string) Entry {
	return Entry{Read: func() ([]byte, error) { return []byte(content), nil }}
}

func link(target string) Entry { return Entry{Link: target} }

func sample() Tree {
	return New(map[string]Entry{
		"a.yaml":          file("a"),
		"apps/x/x.yaml":   file("x"),
		"apps/y":          link("x"),
		"apps/up":         link("../a.yaml"),
		"apps/out":        link("../../etc/passwd"),
		"apps/abs":        link("/etc/passwd"),
		"apps/dangling":   link("nowhere"),
		"loop1":           link("loop2"),
		"loop2":           link("loop1"),
		"apps/x/deep/z.y": file("z"),
	})
}

func TestResolve(t *testing.T) {
	for name, c := range map[string]struct {
		path, want string
		err        error
	}{
		"the root":                              {path: "./", want: "."},
		"an empty path is the root":             {path: "", want: "."},
		"a file":                                {path: "apps/x/x.yaml", want: "apps/x/x.yaml"},
		"a directory with a slash":              {path: "./apps/x/", want: "apps/x"},
		"dots inside are fine":                  {path: "apps/../a.yaml", want: "a.yaml"},
		"a link to a directory is followed":     {path: "apps/y/x.yaml", want: "apps/x/x.yaml"},
		"a link upwards inside is followed":     {path: "apps/up", want: "a.yaml"},
		"dots may not leave":                    {path: "../x", err: ErrEscapes},
		"dots may not leave from inside":        {path: "apps/../../x", err: ErrEscapes},
		"an absolute path is outside":           {path: "/etc/passwd", err: ErrEscapes},
		"a link may not leave":                  {path: "apps/out", err: ErrEscapes},
		"an absolute link is outside":           {path: "apps/abs", err: ErrEscapes},
		"a link to nothing leads to nothing":    {path: "apps/dangling", err: ErrNotExist},
		"links in a circle end":                 {path: "loop1", err: ErrLoop},
		"a missing file":                        {path: "apps/b.yaml", err: ErrNotExist},
		"a file is no directory":                {path: "a.yaml/b", err: ErrNotExist},
		"dots after a missing directory do not": {path: "nope/../a.yaml", err: ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := sample().Resolve(c.path)
			if !errors.Is(err, c.err) {
				t.Fatalf("Resolve(%q) error = %v, want %v", c.path, err, c.err)
			}
			if got != c.want {
				t.Errorf("Resolve(%q) = %q, want %q", c.path, got, c.want)
			}
		})
	}
}

func TestReading(t *testing.T) {
	tr := sample()
	if data, err := tr.ReadFile("apps/y/x.yaml"); err != nil || string(data) != "x" {
		t.Errorf("ReadFile through a link = %q, %v", data, err)
	}
	if _, err := tr.ReadFile("apps"); err == nil {
		t.Error("a directory was read as a file")
	}
	if _, err := tr.ReadDir("a.yaml"); err == nil {
		t.Error("a file was listed as a directory")
	}
	names, err := tr.ReadDir("apps/y")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"deep", "x.yaml"}, names); diff != "" {
		t.Error(diff)
	}
	if !tr.IsDir(".") || !tr.IsDir("apps/x/deep") || tr.IsDir("a.yaml") || tr.Exists("loop1") {
		t.Error("IsDir or Exists is wrong")
	}
	if (Tree{}).IsDir("x") {
		t.Error("an empty tree has a directory")
	}
}

// What cannot be in the tree is told, not forgotten: what it declares would be pruned.
func TestUnusable(t *testing.T) {
	tr := New(map[string]Entry{
		"a.yaml": file("a"), "\xfcber.yaml": file("x"), "apps/\xff/b.yaml": file("b"), "../up.yaml": file("u"), "über.yaml": file("y"), "a\tb.yaml": file("z"),
	})
	if diff := cmp.Diff([]string{"../up.yaml", "apps/\xff/b.yaml", "\xfcber.yaml"}, tr.Unusable()); diff != "" {
		t.Error(diff)
	}
	if !tr.Exists("über.yaml") || !tr.Exists("a\tb.yaml") || tr.Exists("\xfcber.yaml") {
		t.Error("a name is missing, or one too many is there")
	}
}

func FuzzResolveStaysInside(f *testing.F) {
	f.Add("apps/y/../../x")
	f.Add("apps/out/../..")
	f.Fuzz(func(t *testing.T, name string) {
		p, err := sample().Resolve(name)
		if err != nil {
			return
		}
		if p == ".." || len(p) > 2 && p[:3] == "../" || len(p) > 0 && p[0] == '/' {
			t.Errorf("Resolve(%q) = %q", name, p)
		}
	})
}
