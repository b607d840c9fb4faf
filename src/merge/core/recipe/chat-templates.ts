/** @file Chat formats that recipes name, as Jinja templates. Each is the public format of the models that it is named for. */

const each = (body: string): string => `{%- for message in messages -%}${body}{%- endfor -%}`
const opening = (text: string): string => `{%- if add_generation_prompt -%}${text}{%- endif -%}`

/** `auto` and a template itself are the other things that a recipe may say. */
export const chatTemplates: Readonly<Record<string, string>> = {
  alpaca:
    each(
      "{%- if message.role == 'system' -%}{{ message.content + '\\n\\n' }}" +
        "{%- elif message.role == 'user' -%}{{ '### Instruction:\\n' + message.content + '\\n\\n' }}" +
        "{%- else -%}{{ '### Response:\\n' + message.content + eos_token + '\\n\\n' }}{%- endif -%}",
    ) + opening("{{ '### Response:\\n' }}"),
  chatml:
    each("{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}") +
    opening("{{ '<|im_start|>assistant\\n' }}"),
  exaone:
    each(
      "{{ '[|' + message.role + '|]' + message.content }}" +
        "{%- if message.role == 'user' -%}{{ '\\n' }}{%- else -%}{{ '[|endofturn|]\\n' }}{%- endif -%}",
    ) + opening("{{ '[|assistant|]' }}"),
  llama3:
    '{{ bos_token }}' +
    each(
      "{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' }}",
    ) +
    opening("{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"),
  mistral:
    '{{ bos_token }}' +
    each(
      "{%- if message.role == 'assistant' -%}{{ ' ' + message.content + eos_token }}" +
        "{%- else -%}{{ '[INST] ' + message.content + ' [/INST]' }}{%- endif -%}",
    ),
}
