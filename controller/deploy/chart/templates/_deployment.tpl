{{/* decant.deployment: a Deployment of the base, changed by the values. `own` has its replicas and resources and, for the webhook, callers. */}}
{{- define "decant.deployment" -}}
{{- $root := .root }}
{{- $deployment := include "decant.file" (dict "root" $root "path" .path) | fromYaml }}
{{- $template := $deployment.spec.template }}
{{- $container := first $template.spec.containers }}
{{- $_ := set $deployment.spec "replicas" (int .own.replicas) }}
{{- with .own.resources }}{{ $_ := set $container "resources" . }}{{ end }}
{{- with $root.Values.controller }}
{{- with .podLabels }}{{ $_ := mergeOverwrite $template.metadata.labels (omit . "app.kubernetes.io/name") }}{{ end }}
{{- range $field := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- with index $root.Values.controller $field }}{{ $_ := set $template.spec $field . }}{{ end }}
{{- end }}
{{- end }}
{{- /* A changed setting has to replace the pods, which read it only when they start. */ -}}
{{- $sum := include (print $root.Template.BasePath "/settings.yaml") $root | sha256sum }}
{{- $_ := set $template.metadata "annotations" (merge (dict "checksum/settings" $sum) $root.Values.controller.podAnnotations) }}
{{- $_ := set $container "image" $root.Values.images.controller }}
{{- $_ := set $container "imagePullPolicy" $root.Values.images.pullPolicy }}
{{- with $root.Values.images.pullSecrets }}
{{- $secrets := list }}{{ range . }}{{ $secrets = append $secrets (dict "name" .) }}{{ end }}
{{- $_ := set $template.spec "imagePullSecrets" $secrets }}
{{- end }}
{{- if dig "callers" "configMap" "" .own }}
{{- $volume := dict "name" "callers" "configMap" (dict "name" .own.callers.configMap) }}
{{- $_ := set $template.spec "volumes" (append (default list $template.spec.volumes) $volume) }}
{{- $mount := dict "name" "callers" "mountPath" "/etc/decant/callers" "readOnly" true }}
{{- $_ := set $container "volumeMounts" (append (default list $container.volumeMounts) $mount) }}
{{- end }}
{{ toYaml $deployment }}
{{- end }}
