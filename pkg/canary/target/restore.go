package target

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Paused tells whether the user has paused a target: then its controller starts no pods of what it says, only of what
// it had before.
func Paused(obj client.Object) bool {
	d, ok := obj.(*appsv1.Deployment)
	return ok && d.Spec.Paused
}

// Pause pauses a target, or takes the pause off it. Only Deployments can be paused; all others stay as they are.
func Pause(obj client.Object, on bool) {
	if d, ok := obj.(*appsv1.Deployment); ok {
		d.Spec.Paused = on
	}
}

// Template returns a copy of the pod template of a workload; false: obj has none.
func Template(obj client.Object) (corev1.PodTemplateSpec, bool) {
	w := workloadOf(obj)
	if w == nil {
		return corev1.PodTemplateSpec{}, false
	}
	return *w.parts().template.DeepCopy(), true
}

// Restore writes the content that makes r a revision into obj, which must be of r's kind, and leaves its size and all
// else of obj as it is.
func (r Revision) Restore(obj client.Object) {
	off := KindOf(obj) != Service && !Numbered(obj) && Observe(obj).Replicas == 0
	r.Into(obj)
	if off {
		resize(workloadOf(obj).parts(), 0)
	}
}

// Reading returns r whose pods read the copies of the items that chosen names, and the originals of all others.
func (r Revision) Reading(chosen func(Item) bool) Revision {
	if r.Service != nil || r.Config == nil {
		return r
	}
	some := &Config{}
	for _, it := range r.Config.Items {
		if it.Copy != "" && chosen(it) {
			some.Items = append(some.Items, it)
		}
	}
	r.Template = *r.Template.DeepCopy()
	some.rewrite(&r.Template.Spec)
	return r
}

// Originals returns r whose pods read the originals of what c has copies of.
func (r Revision) Originals(c *Config) Revision {
	if r.Service != nil || c == nil {
		return r
	}
	names := map[string]string{}
	for _, it := range c.Items {
		if it.Copy != "" {
			names[it.Kind+"/"+it.Copy] = it.Name
		}
	}
	r.Template = *r.Template.DeepCopy()
	visit(&r.Template.Spec, func(kind string, name *string, _ *bool, _ string) {
		if original, ok := names[kind+"/"+*name]; ok {
			*name = original
		}
	})
	return r
}

// WithinOf tells whether live has all that r sets, whatever defaults and admission webhooks added to it.
func (r Revision) WithinOf(live Revision) bool {
	if r.Service != nil {
		return live.Service != nil && serves(*live.Service, *r.Service)
	}
	return equality.Semantic.DeepDerivative(r.Template, live.Template)
}

// ReadsOriginal tells whether the pods of r read the original of an item, and not its copy.
func (r Revision) ReadsOriginal(it Item) bool {
	found := false
	if r.Service != nil {
		return false
	}
	visit(new(*r.Template.Spec.DeepCopy()), func(kind string, name *string, _ *bool, _ string) {
		found = found || kind == it.Kind && *name == it.Name
	})
	return found
}
