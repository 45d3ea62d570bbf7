// Shows the OpenAPI document in Swagger UI, without its online validator.

SwaggerUIBundle({ url: "openapi.json", dom_id: "#document", deepLinking: true, validatorUrl: null });
