package build

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

// ErrRemote is in every refusal of something that is not in the repository.
var ErrRemote = errors.New("only files of this repository can be used")

// remote matches what kustomize would ask another server for.
func isRemote(s string) bool {
	s = strings.ToLower(strings.TrimSpace(s))
	return strings.Contains(s, "://") || strings.HasPrefix(s, "git::") || strings.HasPrefix(s, "git@")
}

// vet refuses kustomizations and plugin configurations that lead out of the repository, or to something that is not there:
// kustomize asks a server for a base that it cannot find.
func (f *readOnlyFS) vet(name string, data []byte) error {
	if isKustomization(name) {
		return f.vetKustomization(name, data)
	}
	if !isManifest(name) || !builtinPlugin(data) {
		return nil
	}
	for doc := range strings.SplitSeq(string(data), "\n---") {
		var content any
		if yaml.Unmarshal([]byte(doc), &content) == nil {
			if err := vetStrings("", content); err != nil {
				return err
			}
		}
	}
	return nil
}

// builtinPlugin tells whether a file may configure one of kustomize's own generators or transformers.
func builtinPlugin(data []byte) bool {
	ok, err := regexp.Match(`(?m)^\s*"?'?apiVersion"?'?\s*:\s*["']?builtin\b`, data)
	return ok && err == nil
}

func (f *readOnlyFS) vetKustomization(name string, data []byte) error {
	var k map[string]any
	if err := yaml.Unmarshal(data, &k); err != nil {
		return fmt.Errorf("is not valid YAML: %s", plain(err))
	}
	if err := vetKind(k); err != nil {
		return err
	}
	return f.vetFields(path.Dir(name), k)
}

func vetKind(k map[string]any) error {
	if kind, ok := k["kind"].(string); ok && kind != "" && kind != "Kustomization" && kind != "Component" {
		return fmt.Errorf("has kind %q instead of Kustomization", kind)
	}
	if api, ok := k["apiVersion"].(string); ok && !strings.HasPrefix(api, "kustomize.config.k8s.io/") {
		return fmt.Errorf("has apiVersion %q instead of kustomize.config.k8s.io/v1beta1", api)
	}
	return nil
}

func (f *readOnlyFS) vetFields(dir string, k map[string]any) error {
	for _, field := range []string{"resources", "bases", "components"} {
		if err := f.vetPaths(dir, field, k[field]); err != nil {
			return err
		}
	}
	for _, field := range []string{"generators", "transformers", "validators"} {
		if err := f.vetPlugins(dir, field, k[field]); err != nil {
			return err
		}
	}
	for _, field := range []string{
		"crds", "configurations", "openapi", "patches", "patchesStrategicMerge", "patchesJson6902", "replacements",
		"configMapGenerator", "secretGenerator",
	} {
		if err := vetStrings(field, k[field]); err != nil {
			return err
		}
	}
	for _, field := range []string{"helmCharts", "helmChartInflationGenerator"} {
		if k[field] != nil {
			return fmt.Errorf("uses %s: Helm charts are not supported", field)
		}
	}
	return nil
}

// vetPaths checks a list of files and directories.
func (f *readOnlyFS) vetPaths(dir, field string, value any) error {
	list, ok := value.([]any)
	if !ok {
		return nil // kustomize tells about it
	}
	for _, item := range list {
		s, ok := item.(string)
		switch {
		case !ok:
		case isRemote(s):
			return fmt.Errorf("%s: %q is on another server; %w", field, s, ErrRemote)
		case path.IsAbs(s):
			return fmt.Errorf("%s: %q is an absolute path; %w", field, s, ErrRemote)
		default:
			if _, err := f.repo.Resolve(dir + "/" + s); err != nil {
				return fmt.Errorf("%s: %w", field, err)
			}
		}
	}
	return nil
}

// vetPlugins checks a list of plugin configurations: files, or YAML in place. Directories are refused, because a
// kustomization could patch a remote address into what they yield.
func (f *readOnlyFS) vetPlugins(dir, field string, value any) error {
	list, ok := value.([]any)
	if !ok {
		return nil
	}
	for _, item := range list {
		s, ok := item.(string)
		if !ok {
			continue
		}
		var inline map[string]any
		if yaml.Unmarshal([]byte(s), &inline) == nil && inline != nil {
			if err := vetStrings(field, inline); err != nil {
				return err
			}
			continue
		}
		if err := f.vetPaths(dir, field, []any{s}); err != nil {
			return err
		}
		if f.repo.IsDir(dir + "/" + s) {
			return fmt.Errorf("%s: %q is a directory; name the files in it", field, s)
		}
	}
	return nil
}

// literal fields hold data, not files.
func holdsData(field string) bool {
	switch field {
	case "literals", "patch", "annotations", "labels", "options", "target", "value", "metadata":
		return true
	default:
		return false
	}
}

// vetStrings refuses remote addresses anywhere in value where kustomize may look for a file.
func vetStrings(field string, value any) error {
	switch v := value.(type) {
	case string:
		_, file, found := strings.Cut(v, "=") // generators write key=file
		if !found {
			file = v
		}
		if !strings.Contains(v, "\n") && (isRemote(v) || isRemote(file)) {
			return fmt.Errorf("%s: %q is on another server; %w", field, v, ErrRemote)
		}
	case []any:
		for _, item := range v {
			if err := vetStrings(field, item); err != nil {
				return err
			}
		}
	case map[string]any:
		for key, item := range v {
			if holdsData(key) {
				continue
			}
			if err := vetStrings(key, item); err != nil {
				return err
			}
		}
	}
	return nil
}
