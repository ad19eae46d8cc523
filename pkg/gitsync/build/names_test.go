package build

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/siskin-dev/siskin/pkg/gitsync/tree"
)

func TestNamesThatNothingCanName(t *testing.T) {
	for name, c := range map[string]struct {
		file, link, path string
		others           map[string]string
		says             string // "": it builds
	}{
		"a Latin-1 name":                                    {file: "\xfcber-uns.yaml", says: `"\xfcber-uns.yaml": its name is not UTF-8`},
		"below the path":                                    {file: "apps/\xfc.yml", path: "./apps", says: `"apps/\xfc.yml": `},
		"in a directory of such a name":                     {file: "\xfc/deep/b.yaml", says: `"\xfc/deep/b.yaml": `},
		"a symbolic link":                                   {file: "\xfc.yaml", link: "a.yaml", says: `"\xfc.yaml": `},
		"no path at all":                                    {file: "a//b.yaml", says: "a//b.yaml: its name is not a path"},
		"a link to nowhere":                                 {file: "b.yaml", link: "gone.yaml", says: "b.yaml: is a symbolic link that leads nowhere"},
		"a link to a Latin-1 name":                          {file: "b.yaml", link: "\xfc.yaml", says: "b.yaml: is a symbolic link that leads nowhere"},
		"a link out of the repository":                      {file: "apps/b.yaml", link: "../../b.yaml", says: "apps/b.yaml: is a symbolic link that leads nowhere"},
		"a broken manifest's name with a control character": {file: "a\x1b[2J\nb.yaml", others: map[string]string{"a\x1b[2J\nb.yaml": "kind: ["}, says: `"a\x1b[2J\nb.yaml": `},

		"elsewhere":             {file: "docs/\xfc.yaml", path: "./apps"},
		"no manifest":           {file: "\xfc.txt"},
		"hidden":                {file: ".github/\xfc.yaml"},
		"under a kustomization": {file: "k/\xfc.yaml", others: map[string]string{"k/kustomization.yaml": "resources: [c.yaml]\n", "k/c.yaml": configMap("c")}},
		"a link of no manifest": {file: "latest", link: "gone"},
		"a control character":   {file: "b\tc.yaml", others: map[string]string{"b\tc.yaml": configMap("tab")}},
		"another alphabet":      {file: "апп.yaml", others: map[string]string{"апп.yaml": configMap("cyrillic")}},
	} {
		t.Run(name, func(t *testing.T) {
			text := map[string]string{"a.yaml": configMap("a"), "apps/c.yaml": configMap("d"), c.file: configMap("b")}
			maps.Copy(text, c.others)
			entries := map[string]tree.Entry{}
			for n, content := range text {
				entries[n] = tree.Entry{Read: func() ([]byte, error) { return []byte(content), nil }}
			}
			if c.link != "" {
				entries[c.file] = tree.Entry{Link: c.link}
			}
			_, err := new(Builder).Build(t.Context(), tree.New(entries), Options{Path: c.path})
			var e *Error
			switch {
			case c.says == "" && err != nil:
				t.Errorf("it does not build: %v", err)
			case c.says == "":
			case !errors.As(err, &e) || !strings.HasPrefix(err.Error(), c.says):
				t.Errorf("error %q, want one that begins with %q", err, c.says)
			case strings.ContainsAny(err.Error(), "\n\x1b") || !utf8.ValidString(err.Error()):
				t.Errorf("the error repeats what cannot be printed: %q", err)
			}
		})
	}
}

// A name with a control character is a name like another.
func TestControlCharactersInNames(t *testing.T) {
	got := ids(t, tree.FromFiles(map[string]string{"a\tb.yaml": configMap("tab"), "x/c\nd.yml": configMap("line"), "ü/e.yaml": configMap("umlaut")}), Options{})
	if diff := cmp.Diff([]string{"ConfigMap /line", "ConfigMap /tab", "ConfigMap /umlaut"}, got); diff != "" {
		t.Error(diff)
	}
}
