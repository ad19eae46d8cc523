package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

const preface = `# API reference

Generated from the CRDs by ` + "`make manifests`" + `; do not edit. All kinds are namespaced, group ` + "`siskin.dev`" + `, version ` + "`v1`" + `.
`

// document renders all kinds.
func document(crds []*apiextensionsv1.CustomResourceDefinition) (string, error) {
	var b strings.Builder
	b.WriteString(preface + "\n")
	for _, crd := range crds {
		fmt.Fprintf(&b, "- [%s](#%s)\n", crd.Spec.Names.Kind, strings.ToLower(crd.Spec.Names.Kind))
	}
	for _, crd := range crds {
		for _, v := range crd.Spec.Versions {
			if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
				return "", fmt.Errorf("%s has no schema", crd.Name)
			}
			if err := kind(&b, crd.Spec.Names, v.Schema.OpenAPIV3Schema); err != nil {
				return "", fmt.Errorf("rendering %s: %w", crd.Name, err)
			}
		}
	}
	return b.String(), nil
}

func kind(b *strings.Builder, names apiextensionsv1.CustomResourceDefinitionNames, root *apiextensionsv1.JSONSchemaProps) error {
	fmt.Fprintf(b, "\n## %s\n\n%s\n", names.Kind, paragraph(root.Description))
	if len(names.ShortNames) > 0 {
		fmt.Fprintf(b, "\nShort name: `%s`.\n", strings.Join(names.ShortNames, "`, `"))
	}
	for _, part := range []string{"spec", "status"} {
		s, ok := root.Properties[part]
		if !ok {
			continue
		}
		fmt.Fprintf(b, "\n### %s %s\n\n", names.Kind, part)
		if err := table(b, &s); err != nil {
			return err
		}
	}
	return nil
}

// table lists all fields below s, one row each.
func table(b *strings.Builder, s *apiextensionsv1.JSONSchemaProps) error {
	var rules []string
	b.WriteString("| field | type | description |\n|---|---|---|\n")
	if err := rows(b, "", s, &rules); err != nil {
		return err
	}
	if len(rules) > 0 {
		b.WriteString("\nRules:\n\n")
		for _, r := range rules {
			b.WriteString("- " + r + "\n")
		}
	}
	return nil
}

func rows(b *strings.Builder, path string, s *apiextensionsv1.JSONSchemaProps, rules *[]string) error {
	for _, r := range s.XValidations {
		where := ""
		if path != "" {
			where = "`" + path + "`: "
		}
		*rules = append(*rules, where+escape(r.Message))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		field := s.Properties[name]
		at := name
		if path != "" {
			at = path + "." + name
		}
		required := ""
		if slices.Contains(s.Required, name) {
			required = " **required**"
		}
		limits, err := limits(&field)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "| `%s` | %s%s | %s |\n", at, typeOf(&field), required, escape(strings.TrimSpace(paragraph(field.Description)+" "+limits)))
		if err := below(b, at, &field, rules); err != nil {
			return err
		}
	}
	return nil
}

// below goes on with the fields of an object, of the items of a list and of the values of a map.
func below(b *strings.Builder, at string, field *apiextensionsv1.JSONSchemaProps, rules *[]string) error {
	switch {
	case field.Items != nil && field.Items.Schema != nil:
		return rows(b, at+"[]", field.Items.Schema, rules)
	case field.AdditionalProperties != nil && field.AdditionalProperties.Schema != nil:
		return rows(b, at+".<key>", field.AdditionalProperties.Schema, rules)
	}
	return rows(b, at, field, rules)
}

func typeOf(s *apiextensionsv1.JSONSchemaProps) string {
	switch {
	case s.XIntOrString:
		return "integer or string"
	case s.Items != nil && s.Items.Schema != nil:
		return "list of " + typeOf(s.Items.Schema)
	case s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil:
		return "map of " + typeOf(s.AdditionalProperties.Schema)
	case s.Format == "date-time":
		return "time"
	}
	return s.Type
}

// limits tells in words what the schema allows.
func limits(s *apiextensionsv1.JSONSchemaProps) (string, error) {
	var all []string
	if len(s.Enum) > 0 {
		var values []string
		for _, raw := range s.Enum {
			var v string
			if err := json.Unmarshal(raw.Raw, &v); err != nil {
				return "", fmt.Errorf("reading an enum: %w", err)
			}
			if v != "" {
				values = append(values, "`"+v+"`")
			}
		}
		all = append(all, "One of "+strings.Join(values, ", ")+".")
	}
	switch {
	case s.Minimum != nil && s.Maximum != nil:
		all = append(all, fmt.Sprintf("From %g to %d.", *s.Minimum, int64(*s.Maximum)))
	case s.Minimum != nil:
		all = append(all, fmt.Sprintf("At least %g.", *s.Minimum))
	case s.Maximum != nil:
		all = append(all, fmt.Sprintf("At most %g.", *s.Maximum))
	}
	if s.MaxItems != nil {
		all = append(all, fmt.Sprintf("At most %d items.", *s.MaxItems))
	}
	return strings.Join(all, " "), nil
}

// paragraph is the first one, on one line; foreign types go on for pages.
func paragraph(text string) string {
	first, _, _ := strings.Cut(text, "\n\n")
	return strings.Join(strings.Fields(first), " ")
}

// escape keeps text from breaking a table or being taken for HTML. Templates become code.
func escape(text string) string {
	var b strings.Builder
	for text != "" {
		before, rest, found := strings.Cut(text, "{{")
		b.WriteString(strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(before))
		if !found {
			break
		}
		code, after, _ := strings.Cut(rest, "}}")
		b.WriteString("`{{" + code + "}}`")
		text = after
	}
	return b.String()
}
