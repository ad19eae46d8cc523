// Package build turns a directory of a commit into Kubernetes objects with kustomize, in memory.
package build

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"

	"github.com/siskin-dev/siskin/pkg/gitsync/tree"
)

// Error : the path cannot be built; File is where to look first, from the repository's root.
type Error struct {
	File string
	Err  error
}

func (e *Error) Error() string {
	if e.File == "" {
		return e.Err.Error()
	}
	return shown(e.File) + ": " + e.Err.Error()
}

// shown is a path for people: quoted, if it holds what cannot be printed.
func shown(path string) string {
	if quoted := strconv.Quote(path); quoted != `"`+path+`"` {
		return quoted
	}
	return path
}

func (e *Error) Unwrap() error { return e.Err }

// PathError : the commit has no such directory.
type PathError struct {
	Path string
	Err  error
}

func (e *PathError) Error() string { return e.Err.Error() }

func (e *PathError) Unwrap() error { return e.Err }

// LimitError says that a build took more than one build may, or broke the process that it ran in. It may be another's fault, or the
// machine's: the same commit is tried again, after a while.
type LimitError struct {
	// Limit names it in a word or two: "memory", "time".
	Limit string
	// Msg says what was too much, and how much is allowed.
	Msg string
}

func (e *LimitError) Error() string { return e.Msg }

// Options say what to build.
type Options struct {
	// Path of the directory, from the repository's root.
	Path string
	// TargetNamespace overrides the namespace of all namespaced objects, if set.
	TargetNamespace string
}

// Builder builds one directory at a time: kustomize keeps an OpenAPI schema in a global variable.
type Builder struct {
	mu sync.Mutex
}

// Build returns the objects of a directory of a commit: at least one, each with kind and name, none twice. Errors are
// *PathError and *Error.
func (b *Builder) Build(ctx context.Context, repo tree.Tree, o Options) ([]*unstructured.Unstructured, error) {
	dir, err := repo.Resolve(o.Path)
	if err == nil && !repo.IsDir(dir) {
		err = fmt.Errorf("path %q is a file; spec.path must name a directory", o.Path)
	}
	if err != nil {
		return nil, &PathError{Path: o.Path, Err: err}
	}
	f := &readOnlyFS{repo: repo, added: map[string][]byte{}}
	if err := f.prepare(dir, o); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("waiting for another build: %w", err)
	}
	root := path.Join(repoDir, dir)
	if o.TargetNamespace != "" {
		root = wrapDir
	}
	m, err := run(f, root)
	if err != nil {
		return nil, f.explain(err)
	}
	return f.objects(m, dir)
}

// prepare generates the kustomizations that the repository does not have.
func (f *readOnlyFS) prepare(dir string, o Options) error {
	if !f.hasKustomization(dir) {
		if err := f.kustomize(dir); err != nil {
			return err
		}
	}
	if o.TargetNamespace == "" {
		return nil
	}
	return f.add(wrapDir+"/kustomization.yaml", types.Kustomization{
		Namespace: o.TargetNamespace, Resources: []string{path.Join("..", repoDir, dir)},
	})
}

// kustomize generates the kustomization of a directory that has only manifests.
func (f *readOnlyFS) kustomize(dir string) error {
	resources, err := f.manifests(dir, "")
	if err != nil {
		return err
	}
	if err := f.nameable(dir); err != nil {
		return err
	}
	if len(resources) == 0 {
		return &Error{File: dir, Err: errors.New(
			"the directory has neither a kustomization.yaml nor a .yaml file; to delete what was applied, delete the GitSync")}
	}
	return f.add(path.Join(repoDir, dir, "kustomization.yaml"), types.Kustomization{Resources: resources})
}

func (f *readOnlyFS) add(name string, k types.Kustomization) error {
	k.TypeMeta = types.TypeMeta{APIVersion: types.KustomizationVersion, Kind: types.KustomizationKind}
	data, err := yaml.Marshal(k)
	if err != nil {
		return fmt.Errorf("generating %s: %w", name, err)
	}
	f.added[name] = data
	return nil
}

func (f *readOnlyFS) hasKustomization(dir string) bool {
	names, err := f.repo.ReadDir(dir)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(names, isKustomization)
}

// manifests lists the manifests below dir; a directory with a kustomization stands for all that is in it. Symbolic
// links to directories are not followed, hidden files are left out. Errors: *Error, of a manifest that is a symbolic
// link to nowhere: to leave it out would prune what it declared.
func (f *readOnlyFS) manifests(dir, prefix string) ([]string, error) {
	names, err := f.repo.ReadDir(path.Join(dir, prefix))
	if err != nil {
		return nil, nil //nolint:nilerr // there is nothing in it
	}
	var out []string
	for _, n := range names {
		at := path.Join(prefix, n)
		full := path.Join(dir, at)
		target, err := f.repo.Resolve(full)
		switch {
		case strings.HasPrefix(n, "."), err != nil && !isManifest(n):
		case err != nil:
			return nil, &Error{File: full, Err: fmt.Errorf("is a symbolic link that leads nowhere: %w; correct or remove it", err)}
		case !f.repo.IsDir(full):
			if isManifest(n) {
				out = append(out, at)
			}
		case target != full:
		case f.hasKustomization(full):
			out = append(out, at)
		default:
			below, err := f.manifests(dir, at)
			if err != nil {
				return nil, err
			}
			out = append(out, below...)
		}
	}
	return out, nil
}

// nameable refuses a directory in which a manifest has a name that nothing can name: to leave it out would prune what
// it declared.
func (f *readOnlyFS) nameable(dir string) error {
	for _, name := range f.repo.Unusable() {
		below, ok := strings.CutPrefix(name, dir+"/")
		if dir == "." {
			below, ok = name, true
		}
		if !ok || !isManifest(name) || !f.taken(dir, below) {
			continue
		}
		why := "its name is not a path that a file can have; rename it"
		if !utf8.ValidString(name) {
			why = "its name is not UTF-8, and nothing can name it; rename it (git mv)"
		}
		return &Error{File: name, Err: errors.New(why)}
	}
	return nil
}

// taken tells whether a file below dir is one of those that are taken without being named: none of its directories is
// hidden or has a kustomization of its own.
func (f *readOnlyFS) taken(dir, below string) bool {
	parts := strings.Split(below, "/")
	for i, part := range parts {
		if strings.HasPrefix(part, ".") || i > 0 && f.hasKustomization(path.Join(dir, path.Join(parts[:i]...))) {
			return false
		}
	}
	return true
}

// run calls kustomize. Plugins that run programs or containers are off; a panic of kustomize becomes an error.
func run(f *readOnlyFS, root string) (m resmap.ResMap, err error) { //nolint:ireturn // kustomize has no other type
	defer func() {
		if p := recover(); p != nil {
			m, err = nil, fmt.Errorf("kustomize panicked: %v", p)
		}
	}()
	k := krusty.MakeKustomizer(&krusty.Options{
		LoadRestrictions: types.LoadRestrictionsNone, // there is nothing but the repository to load from
		PluginConfig:     types.DisabledPluginConfig(),
	})
	m, err = k.Run(f, root)
	if err != nil {
		return nil, fmt.Errorf("running kustomize: %w", err)
	}
	return m, nil
}

// explain names the file that kustomize failed on, as well as it can be known.
func (f *readOnlyFS) explain(err error) error {
	if f.refused != nil {
		return f.refused
	}
	if f.last != "" && isManifest(f.last) && !isKustomization(f.last) {
		data, readErr := f.repo.ReadFile(f.last)
		if readErr == nil {
			if bad := invalid(string(data)); bad != nil {
				return &Error{File: f.last, Err: bad}
			}
		}
	}
	file := f.last
	return &Error{File: file, Err: errors.New(plain(err))}
}

// invalid tells why the first bad document of a file is not a Kubernetes object.
func invalid(data string) error {
	for doc := range strings.SplitSeq(data, "\n---") {
		var o map[string]any
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			return errors.New("is not valid YAML: " + plain(err))
		}
		if len(o) == 0 {
			continue
		}
		for _, field := range []string{"apiVersion", "kind"} {
			if s, ok := o[field].(string); !ok || s == "" {
				return fmt.Errorf("has a document without %s; it is not a Kubernetes object", field)
			}
		}
	}
	return nil
}

// plain is the text of an error in one line, with the paths as the user knows them.
func plain(err error) string {
	const limit = 600
	s := strings.ReplaceAll(err.Error(), repoDir+"/", "")
	s = strings.TrimPrefix(s, "running kustomize: ")
	s = strings.Join(strings.Fields(s), " ")
	if runes := []rune(s); len(runes) > limit {
		s = string(runes[:limit]) + "…"
	}
	return s
}

// objects checks and cleans what kustomize made.
func (f *readOnlyFS) objects(m resmap.ResMap, dir string) ([]*unstructured.Unstructured, error) {
	seen := map[string]struct{}{}
	out := make([]*unstructured.Unstructured, 0, m.Size())
	for _, r := range m.Resources() {
		u := &unstructured.Unstructured{}
		data, err := r.MarshalJSON()
		if err == nil {
			err = u.UnmarshalJSON(data) // gives the number types that deep copies need, which r.Map does not
		}
		if err != nil {
			return nil, &Error{File: dir, Err: fmt.Errorf("reading %s: %w", r.CurId(), err)}
		}
		if err := clean(u); err != nil {
			return nil, &Error{File: dir, Err: err}
		}
		gk := u.GroupVersionKind().GroupKind()
		id := strings.Join([]string{gk.String(), u.GetNamespace(), u.GetName()}, "/")
		if _, twice := seen[id]; twice {
			return nil, &Error{File: dir, Err: fmt.Errorf("%s %s is declared twice", u.GetKind(), u.GetName())}
		}
		seen[id] = struct{}{}
		out = append(out, u)
	}
	if len(out) == 0 {
		return nil, &Error{File: dir, Err: errors.New("yields no objects; to delete what was applied, delete the GitSync")}
	}
	return out, nil
}

// clean takes away what only the API server may set, and refuses what it could not store.
func clean(u *unstructured.Unstructured) error {
	gv, err := schema.ParseGroupVersion(u.GetAPIVersion())
	if err != nil || gv.Version == "" || u.GetKind() == "" {
		return fmt.Errorf("an object has apiVersion %q and kind %q", u.GetAPIVersion(), u.GetKind())
	}
	if u.GetName() == "" {
		return fmt.Errorf("a %s has no metadata.name (generateName cannot be synced)", u.GetKind())
	}
	for _, field := range []string{"creationTimestamp", "deletionTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"} {
		unstructured.RemoveNestedField(u.Object, "metadata", field)
	}
	unstructured.RemoveNestedField(u.Object, "status")
	if gv.Group == "" && u.GetKind() == "Secret" {
		return encode(u)
	}
	return nil
}

// encode moves a Secret's stringData to data: the server does the same, but would not take a key away that leaves git.
func encode(u *unstructured.Unstructured) error {
	text, found, err := unstructured.NestedStringMap(u.Object, "stringData")
	if err != nil {
		return fmt.Errorf("Secret %s: stringData must hold text only (quote numbers and booleans)", u.GetName()) //nolint:staticcheck // a kind begins the sentence
	}
	if !found {
		return nil
	}
	data, _, err := unstructured.NestedMap(u.Object, "data")
	if err != nil {
		return fmt.Errorf("Secret %s: data must hold base64 text only", u.GetName()) //nolint:staticcheck // a kind begins the sentence
	}
	if data == nil {
		data = map[string]any{}
	}
	for k, v := range text {
		data[k] = base64.StdEncoding.EncodeToString([]byte(v))
	}
	unstructured.RemoveNestedField(u.Object, "stringData")
	u.Object["data"] = data
	return nil
}
