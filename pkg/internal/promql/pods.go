package promql

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// The kinds of targets whose pods are not named like those of a Deployment.
const (
	daemonSet   = "DaemonSet"
	statefulSet = "StatefulSet"
)

// PodPattern matches the names of the pods of a workload, and of no other workload whose name begins alike: a number
// follows the name of a StatefulSet, five random characters that of a DaemonSet, a hash and five random characters
// that of a Deployment. Kubernetes cuts the part before the random suffix at 58 characters.
func PodPattern(kind, workload string) string {
	const cut, random, hash = 58, "[a-z0-9]{5}", 10
	switch prefix := workload + "-"; {
	case kind == statefulSet:
		return regexp.QuoteMeta(prefix) + "[0-9]+"
	case kind == daemonSet:
		return regexp.QuoteMeta(prefix[:min(len(prefix), cut)]) + random
	case len(prefix) >= cut:
		return regexp.QuoteMeta(prefix[:cut]) + random
	case len(prefix)+hash+1 > cut:
		return regexp.QuoteMeta(prefix) + "[a-z0-9]+(-[a-z0-9]+)?"
	default:
		return regexp.QuoteMeta(prefix) + "[a-z0-9]+-[a-z0-9]+"
	}
}

// defaultPod is the label that names pods where a query does not tell.
const defaultPod = "pod"

// podLabel is the label that names pods in the series of a selector: that which goes with the label of its namespace
// in the usual scrape configurations.
func podLabel(selector []Matcher) (string, bool) {
	for _, l := range []struct{ namespace, pod string }{
		{"kubernetes_namespace", "kubernetes_pod_name"},
		{"exported_namespace", "exported_pod"},
		{"k8s_namespace_name", "k8s_pod_name"},
		{"namespace", defaultPod},
	} {
		if slices.ContainsFunc(selector, func(m Matcher) bool { return m.Label == l.namespace || m.Label == l.pod }) {
			return l.pod, true
		}
	}
	return "", false
}

// podLabelOf is the label that names pods in a query.
func podLabelOf(query string) string {
	found := ""
	Rewrite(query, func(selector []Matcher) Edit {
		if l, ok := podLabel(selector); ok && found == "" {
			found = l
		}
		return Edit{}
	})
	return cmp.Or(found, defaultPod)
}

// namesWorkload tells whether a label of a series names a workload or a pod, and not a label, a namespace or another
// thing of it: by convention its name says so, for example deployment, destination_workload, exported_pod,
// kubernetes_pod_name.
func namesWorkload(label string) bool {
	words := strings.Split(strings.ToLower(label), "_")
	has := func(some ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return slices.Contains(some, w) })
	}
	return has("pod", "deployment", "daemonset", "statefulset", "workload", "replicaset", "owner", "controller", "created",
		"scaletargetref") && !has("label", "labels", "namespace", "uid", "ip", "kind", "type", "phase", "container", "annotation", "service")
}

// reserved tells that a label names an object of Kubernetes or of Prometheus in series, whatever labels of that name
// pods have.
func reserved(label string) bool {
	return namesWorkload(label) || slices.Contains([]string{
		"__name__", "namespace", "service", "job", "instance", "endpoint", "ingress", "node", "kubernetes_namespace",
		"exported_namespace", "exported_service", "exported_job",
	}, label)
}

// sanitized is the name of a label of Kubernetes as a label of a series.
func sanitized(key string) string {
	return strings.Map(func(r rune) rune {
		if !inName(r) {
			return '_'
		}
		return r
	}, key)
}
